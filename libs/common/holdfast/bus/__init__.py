"""The carrier: NATS. It wakes, streams and shows life; it never decides. All that it holds may vanish at any moment."""
