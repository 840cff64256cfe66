"""A model that costs nothing and does as it is told: a real HTTP server speaking OpenAI's chat-completions protocol.

Hints in the last user message say what it does; words separate them, and they combine (``many:10 stamp``):

- ``slow:<chunks>x<ms>``   so many chunks, so far apart; ``many:<chunks>``: 50 ms apart; neither: 5 chunks at once
- ``stamp``                the text is ``chunk-<i>@<call number> `` instead of ``chunk-<i> ``
- ``tool:<name>(<json>)``  asks for that tool first and answers after its result; several are asked for at once; the word ``then``
  between them: those behind it are asked for after the results of those before
- ``talk``                 says its text before it asks for tools, too
- ``fail:<status>``        answers that HTTP status; ``fail:<status>x<times>``: only the first so many calls with this text
- ``fail-after:<chunks>``  cuts the connection after so many chunks; ``x<times>`` as above
- ``hang``                 never answers

A trailing message of the assistant is gone on with: its chunks are not said again.

``hints`` (pure) reads them, ``protocol`` (pure) has the shapes and the rules about messages, ``app`` serves.
"""
