module preview/hello

go 1.19
