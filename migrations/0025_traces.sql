-- In whose trace a change was made, and a webhook came: W3C's traceparent, which the notification carries on.
-- It holds ids and nothing else, and is of use for as long as somebody keeps traces.
ALTER TABLE events ADD COLUMN traceparent text;
ALTER TABLE receipts ADD COLUMN traceparent text;
