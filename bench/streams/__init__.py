"""Streams: what it costs to show a run to many viewers, beside a bare loop that writes the same bytes to the same sockets.

``measure`` drives the ``cases`` and makes ``rows`` of them. ``viewers`` and ``bare`` are processes of their own, ``board`` is the
memory that they share, ``crowd`` holds them from outside, ``writer`` appends the events, and ``meter`` reads what was used.
"""
