"""Webhooks: what a tenant's servers are told of its runs, signed, and again until they take it."""
