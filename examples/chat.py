"""An agent that answers with a model, and knows what was said on its thread before."""

import openai

from holdfast_agent import Retry, Run, agent

MODEL = "gpt-4o-mini"
BUSY = Retry(tries=4, on=(openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError))


@agent("chat")
async def chat(run: Run) -> dict[str, str]:
    """Answers the user."""
    said = [{"role": each.role, "content": each.text} for each in await run.history(limit=50) if each.text]
    messages = [*said, *run.input["messages"]]

    async def ask_the_model() -> dict[str, str]:
        text = ""
        async with openai.AsyncOpenAI(max_retries=0) as client:
            chunks = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
            async for chunk in chunks:
                piece = chunk.choices[0].delta.content or "" if chunk.choices else ""
                run.emit_text(piece)
                text += piece
        return {"text": text}

    return await run.model("answer", {"model": MODEL, "messages": messages}, ask_the_model, retry=BUSY)
