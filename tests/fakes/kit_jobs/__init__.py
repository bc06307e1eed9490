"""A small server written with the kit whose tools run long: they wait, ask, report, fail and die."""
