"""The feed: every change of a tenant's runs, and of the pods, on one connection for a whole user interface.

The record orders the changes (:mod:`holdfast.store.feed`). Here one reader reads them for all followers, and each follower is a
bounded queue of ready bytes that goes back to reading for itself when it is too slow. Nothing here parses or changes a run.
"""
