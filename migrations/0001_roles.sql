-- The service logs in once and switches, transaction by transaction, into one of two roles:
--   connections_api     a tenant's request; row-level security shows it that tenant's rows only
--   connections_worker  what crosses tenants: callbacks, receipts, deliveries, jobs
-- Roles belong to the whole cluster, so that another database may have made them already, at this moment.
-- Needs PostgreSQL 14 or newer.
DO $$
DECLARE
    wanted text;
    -- From 16 on, who makes a role is its member without the right to switch into it.
    may_switch text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
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
        IF NOT pg_has_role(current_user, wanted, may_switch) THEN
            BEGIN
                EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'a superuser, or who made the role, must first run: GRANT % TO %', wanted, current_user;
            END;
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA public TO connections_api, connections_worker;
-- A login that only serves asks through this role whether everything was migrated.
GRANT SELECT ON _sqlx_migrations TO connections_worker;

-- The tenant of the current transaction; no tenant outside one, and then no row is visible.
CREATE FUNCTION current_tenant() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN current_setting('connections.tenant', true);
