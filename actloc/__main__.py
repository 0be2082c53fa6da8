"""`python -m actloc` is the same as the console script `actloc`."""

from actloc.cli import main

main()
