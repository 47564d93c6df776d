-- The service logs in once and switches, transaction by transaction, into one of two roles:
--   connections_api     a tenant's request; row-level security shows it that tenant's rows only
--   connections_worker  what crosses tenants: callbacks, receipts, deliveries, jobs
-- Roles belong to the whole cluster, so that another database may have made them already, at this moment.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['connections_api', 'connections_worker'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        -- Whoever migrates may serve, too. Another login is granted both roles by its operator.
        IF NOT pg_has_role(current_user, wanted, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
        END IF;
    END LOOP;
END
$$;

-- The tenant of the current transaction; no tenant outside one, and then no row is visible.
CREATE FUNCTION current_tenant() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN current_setting('connections.tenant', true);
