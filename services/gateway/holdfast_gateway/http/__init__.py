"""The native HTTP API: routes, what they take and answer, and what stands before them."""
