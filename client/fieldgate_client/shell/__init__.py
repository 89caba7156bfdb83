"""The shell: a terminal, or a pipe, to a site behind a tunnel that comes back by itself."""
