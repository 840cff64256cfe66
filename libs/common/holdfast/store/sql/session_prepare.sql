-- Have the server notice within seconds that this session's client is cut off: its lock must not outlive it for hours.
-- Set here and not in the connection's start packet, which a pooler may refuse. Platforms without one of them ignore it.
SELECT set_config('tcp_keepalives_idle', '2', false), set_config('tcp_keepalives_interval', '1', false),
       set_config('tcp_keepalives_count', '2', false), set_config('tcp_user_timeout', '4000', false)
