package settings

// A List is the Value of a setting that is a list of options.
type List interface {
	// Len returns the number of elements, At the table of one.
	Len() int
	At(i int) Table
	// Clear removes all elements. Add appends a new element and returns its table, which is valid
	// until the next Add.
	Clear()
	Add() Table
}

// ListOf makes a List from a slice. table returns the table of an element.
func ListOf[T any](slice *[]T, table func(*T) Table) List { return &list[T]{slice, table} }

type list[T any] struct {
	slice *[]T
	table func(*T) Table
}

func (l *list[T]) Len() int       { return len(*l.slice) }
func (l *list[T]) At(i int) Table { return l.table(&(*l.slice)[i]) }
func (l *list[T]) Clear()         { *l.slice = []T{} }

func (l *list[T]) Add() Table {
	*l.slice = append(*l.slice, *new(T))
	return l.At(l.Len() - 1)
}
