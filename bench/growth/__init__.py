"""What a run costs when there are many others: those that have ended, and those that are queued."""

from bench.figures import Case
from bench.growth import requests
from bench.growth.cases import CASES as RECORD

CASES = {**RECORD, "growth.requests": Case(requests.taking, 3)}

__all__ = ["CASES"]
