package settings

// A List is the Value of a setting that is a list of options.
type List interface {
	// Len is the number of elements, At the table of one.
	Len() int
	At(i int) Table
	// Clear leaves an empty list, and Add the table of a new element at its end, which
	// holds until the next is added.
	Clear()
	Add() Table
}

// ListOf makes a List of a slice, whose elements have tables.
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
