"""One module per command of ``holdfast``; see ``holdfast_local.__main__`` for what such a module is."""
