// Package jsonwords says in words which JSON a document was expected to have.
package jsonwords

import "reflect"

// Of returns JSON's name for the values of a Go type.
func Of(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number"
}
