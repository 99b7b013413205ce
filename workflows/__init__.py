"""What a person or a scheduler runs: the `minconv` command and the workflows behind it."""
