package bolt

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// fields are what a row of version 2 holds behind its head, one after another:
// the number of the field, which rises, the length of its content (uvarint), and
// the content. What is zero is left out; what a later keepin added is passed over.
// The same calls write an item and read it: they are its format, and what is read
// shares no memory with the row.
type fields struct {
	rest    []byte // written so far, or still to be read
	reading bool
	damaged bool // what is read has no such form
	noSeals bool // sealed tokens are passed over
}

// end is behind every field of an item.
const end = 255

// next is the content of field n, not ok where it is not there.
func (f *fields) next(n byte) (content []byte, ok bool) {
	for len(f.rest) > 0 && f.rest[0] <= n {
		found := f.rest[0]
		length, width := binary.Uvarint(f.rest[1:])
		from := 1 + width
		if width <= 0 || length > uint64(len(f.rest)-from) { //nolint:gosec // Uvarint keeps within what it is given
			f.rest, f.damaged = nil, true
			return nil, false
		}
		to := from + int(length) //nolint:gosec // at most len(f.rest)
		content, f.rest = f.rest[from:to], f.rest[to:]
		if found == n {
			return content, true
		}
	}
	return nil, false
}

func (f *fields) add(n byte, content []byte) {
	f.rest = binary.AppendUvarint(append(f.rest, n), uint64(len(content)))
	f.rest = append(f.rest, content...)
}

func (f *fields) bytes(n byte, b *[]byte) {
	if f.reading {
		content, _ := f.next(n)
		*b = bytes.Clone(content)
	} else if len(*b) > 0 {
		f.add(n, *b)
	}
}

func text[T ~string](f *fields, n byte, s *T) {
	if f.reading {
		content, _ := f.next(n)
		*s = T(content)
	} else if *s != "" {
		f.add(n, []byte(*s))
	}
}

func number[T ~int | ~int64](f *fields, n byte, i *T) {
	if !f.reading {
		if *i != 0 {
			f.add(n, binary.AppendVarint(nil, int64(*i)))
		}
		return
	}
	content, ok := f.next(n)
	if !ok {
		return
	}
	v, width := binary.Varint(content)
	f.damaged = f.damaged || width != len(content)
	*i = T(v)
}

func (f *fields) fact(n byte, b *bool) {
	var i int
	if *b {
		i = 1
	}
	number(f, n, &i)
	*b = i != 0
}

// time keeps microseconds, and gives UTC.
func (f *fields) time(n byte, t *time.Time) {
	if !f.reading {
		if !t.IsZero() {
			f.add(n, timeKey(*t))
		}
		return
	}
	content, ok := f.next(n)
	if !ok {
		return
	}
	if len(content) != timeLength {
		f.damaged = true
		return
	}
	*t = timeOf(content)
}

// texts is a field for each of them.
func texts[T ~string](f *fields, n byte, all *[]T) {
	if !f.reading {
		for _, s := range *all {
			f.add(n, []byte(s))
		}
		return
	}
	for content, ok := f.next(n); ok; content, ok = f.next(n) {
		*all = append(*all, T(content))
	}
}

// items is a field for each of them, with fields of its own in it.
func items[T any](f *fields, n byte, all *[]T, one func(*fields, *T)) {
	if !f.reading {
		for _, item := range *all {
			var inner fields
			one(&inner, &item)
			f.add(n, inner.rest)
		}
		return
	}
	for content, ok := f.next(n); ok; content, ok = f.next(n) {
		var item T
		f.damaged = !read(content, &item, one) || f.damaged
		*all = append(*all, item)
	}
}

// read reads all of content as an item.
func read[T any](content []byte, item *T, one func(*fields, *T)) bool {
	f := fields{rest: content, reading: true}
	one(&f, item)
	_, beyond := f.next(end)
	return !f.damaged && !beyond
}

// pairs is a field for each pair, in the order of the keys.
func pairs(f *fields, n byte, m *map[string]string) {
	type pair struct{ key, value string }
	var all []pair
	for _, k := range slices.Sorted(maps.Keys(*m)) {
		all = append(all, pair{k, (*m)[k]})
	}
	items(f, n, &all, func(f *fields, p *pair) {
		text(f, 1, &p.key)
		text(f, 2, &p.value)
	})
	if f.reading && len(all) > 0 {
		*m = make(map[string]string, len(all))
		for _, p := range all {
			(*m)[p.key] = p.value
		}
	}
}
