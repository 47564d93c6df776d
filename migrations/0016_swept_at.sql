-- When the last whole walk through the vault's list began. A tenant may know that, and nothing else of it.
CREATE FUNCTION swept_at() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public
    RETURN (SELECT swept_at FROM public.sweeps);
REVOKE EXECUTE ON FUNCTION swept_at() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION swept_at() TO connections_api, connections_worker;
