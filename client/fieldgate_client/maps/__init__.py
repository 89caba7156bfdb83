"""Register maps of other tools: a module for each format, which reads it into points and writes points as it."""
