"""Agents that are child processes, by the Agent Client Protocol: coding agents as durable runs. See ``docs/acp.md``.

from holdfast_agent.acp import acp_agent

coder = acp_agent("coder", command=["my-coding-agent", "--acp"], cwd="/srv/project")
"""

from holdfast_agent.acp.agent import acp_agent

__all__ = ["acp_agent"]
