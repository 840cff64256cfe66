"""The smallest agent: it says hello."""

from holdfast_agent import Run, agent


@agent("hello")
async def hello(run: Run) -> dict[str, str]:
    """Says hello."""
    name = run.input["messages"][-1]["content"]
    run.emit_text(f"Hello, {name}!")
    return {"greeted": name}
