// Command gen writes the comments of config structs into a Go file:
//
//	go run ./internal/config/gen -o internal/edge/docs.go -package edge -func configDocs internal/edge internal/edge/source
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/songhua-io/hub/internal/config/structdoc"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run() error {
	out := flag.String("o", "", "`file` to write")
	o := structdoc.Options{Root: ".", Module: "github.com/songhua-io/hub"}
	flag.StringVar(&o.Root, "root", ".", "`directory` of the module; packages are named relative to it")
	flag.StringVar(&o.Package, "package", "", "`name` of the package of the written file")
	flag.StringVar(&o.Func, "func", "configDocs", "`name` of the function that returns the comments")
	flag.Parse()
	o.Dirs = flag.Args()
	if *out == "" || o.Package == "" || len(o.Dirs) == 0 {
		return fmt.Errorf("usage: gen -o FILE -package NAME [-func NAME] [-root DIR] PACKAGE-DIR …")
	}
	src, err := structdoc.Generate(o)
	if err != nil {
		return err
	}
	return os.WriteFile(*out, src, 0o644)
}
