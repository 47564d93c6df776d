-- What the feed let go of last: a cursor that stands right behind it can still be told from one of before a
-- backup was restored. A release that does not know the columns moves `oldest_event` without them, which is
-- why the position is here, too.
ALTER TABLE tenant_heads
    ADD COLUMN gone_position bigint,
    ADD COLUMN gone_event    uuid,
    ADD CHECK ((gone_position IS NULL) = (gone_event IS NULL));
