// Command tlog reads a Gridseal log with Go's own transparency log code, which knows nothing of
// Gridseal: golang.org/x/mod/sumdb/tlog for tiles and proofs, .../note for checkpoints.
//
// Standard input: {"vkey", "tiles" (folder), "older", "newer" (checkpoints), "entries": [{"index",
// "entry" (base64), "path": [base64]}], "consistency": [base64]}. Standard output: what was checked, a line
// each; whatever does not hold ends the command with 1.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type entry struct {
	Index int64
	Entry []byte
	Path  [][]byte
}

type request struct {
	Vkey, Tiles, Older, Newer string
	Entries                   []entry
	Consistency               [][]byte
}

// folder serves tiles of height 8; C2SP's paths lack the height that Go's have.
type folder string

func (f folder) Height() int { return 8 }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, tile := range tiles {
		name := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		data, err := os.ReadFile(filepath.Join(string(f), name))
		if err != nil {
			return nil, err
		}
		found[i] = data
	}
	return found, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func check(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

// open verifies a checkpoint's signature and gives its tree (c2sp.org/tlog-checkpoint).
func open(text, vkey string) tlog.Tree {
	verifier, err := note.NewVerifier(vkey)
	check(err, "vkey")
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	check(err, "checkpoint")
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		check(fmt.Errorf("%d lines", len(lines)), "checkpoint")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err, "size")
	root, err := tlog.ParseHash(lines[2])
	check(err, "root")
	return tlog.Tree{N: size, Hash: root}
}

func hashes(path [][]byte) []tlog.Hash {
	found := make([]tlog.Hash, len(path))
	for i, one := range path {
		if copy(found[i][:], one) != tlog.HashSize || len(one) != tlog.HashSize {
			check(fmt.Errorf("%d bytes", len(one)), "hash")
		}
	}
	return found
}

func main() {
	var asked request
	check(json.NewDecoder(os.Stdin).Decode(&asked), "request")
	older, newer := open(asked.Older, asked.Vkey), open(asked.Newer, asked.Vkey)
	fmt.Printf("checkpoints %d %d\n", older.N, newer.N)
	reader := tlog.TileHashReader(newer, folder(asked.Tiles))
	for _, one := range asked.Entries {
		leaf, path := tlog.RecordHash(one.Entry), hashes(one.Path)
		check(tlog.CheckRecord(path, newer.N, newer.Hash, one.Index, leaf), "our inclusion path")
		proof, err := tlog.ProveRecord(newer.N, one.Index, reader)
		check(err, "tiles")
		if len(proof)+len(path) > 0 && !reflect.DeepEqual([]tlog.Hash(proof), path) {
			check(fmt.Errorf("entry %d", one.Index), "the tiles lead to another path")
		}
		path = append(path, leaf)
		if tlog.CheckRecord(path, newer.N, newer.Hash, one.Index, leaf) == nil {
			check(fmt.Errorf("a hash too many"), "our inclusion path")
		}
	}
	fmt.Printf("entries %d\n", len(asked.Entries))
	ours := tlog.TreeProof(hashes(asked.Consistency))
	check(tlog.CheckTree(ours, newer.N, newer.Hash, older.N, older.Hash), "our consistency proof")
	theirs, err := tlog.ProveTree(newer.N, older.N, reader)
	check(err, "tiles")
	if !reflect.DeepEqual(theirs, ours) {
		check(fmt.Errorf("%d hashes", len(theirs)), "the tiles lead to another consistency proof")
	}
	root, err := tlog.TreeHash(older.N, reader)
	check(err, "tiles")
	if root != older.Hash {
		check(fmt.Errorf("%s", base64.StdEncoding.EncodeToString(root[:])), "root of the older head")
	}
	fmt.Println("consistency holds")
}
