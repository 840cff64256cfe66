"""Agents that come with Holdfast: ``assistant`` (chat) and ``echo``."""
