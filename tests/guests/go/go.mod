module guests

go 1.26

require example v0.0.0

replace example => ../../../examples/go
