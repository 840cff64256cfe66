"""What travels: the HTTP API's shapes, the events of a stream, the messages between services. Changed only by addition."""
