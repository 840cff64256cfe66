"""The UI message stream of the AI SDK: requests in, frames out."""
