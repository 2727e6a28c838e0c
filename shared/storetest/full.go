package storetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// full makes a T whose every field has a value of its own: a store that drops a
// field, or takes one for another, gives back something else. It works by
// reflection, so that a new field is tested from its first day; a field that it
// cannot fill fails the test. Times are after start, in a zone of their own and
// with nanoseconds, which stores do not keep. The member is member(0).
func full[T any](t *testing.T) T {
	t.Helper()
	var v T
	n := 0
	if err := fill(reflect.ValueOf(&v).Elem(), &n); err != nil {
		t.Fatalf("storetest: %T: %v", v, err)
	}
	return v
}

func fill(v reflect.Value, n *int) error {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		at := start.Add(time.Duration(*n) * (time.Hour + time.Second + time.Microsecond + time.Nanosecond))
		v.Set(reflect.ValueOf(at.In(time.FixedZone("full", 9000))))
		return nil
	case keeper.MemberID:
		v.SetString(string(member(0)))
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				return fmt.Errorf("%s is not exported: stores cannot keep it", v.Type().Field(i).Name)
			}
			if err := fill(v.Field(i), n); err != nil {
				return fmt.Errorf("%s: %w", v.Type().Field(i).Name, err)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		return fillAll(v, n)
	case reflect.Array:
		return fillAll(v, n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			if err := fill(k, n); err != nil {
				return err
			}
			if err := fill(e, n); err != nil {
				return err
			}
			v.SetMapIndex(k, e)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(1000 + *n))
	case reflect.Uint8:
		v.SetUint(uint64(1 + *n%255))
	default:
		return fmt.Errorf("teach fill to make a %s", v.Type())
	}
	return nil
}

func fillAll(v reflect.Value, n *int) error {
	for i := range v.Len() {
		if err := fill(v.Index(i), n); err != nil {
			return err
		}
	}
	return nil
}

// diff says in which fields got is not exactly want: also where one is nil and
// the other empty, or times of one instant are in different zones.
func diff(got, want any) []string {
	return differ("", reflect.ValueOf(got), reflect.ValueOf(want))
}

func differ(path string, got, want reflect.Value) (ds []string) {
	if reflect.DeepEqual(got.Interface(), want.Interface()) {
		return nil
	}
	if got.Kind() == reflect.Interface {
		got, want = got.Elem(), want.Elem()
	}
	_, leaf := got.Interface().(time.Time)
	switch {
	case got.Kind() == reflect.Struct && !leaf:
		for i := range got.NumField() {
			ds = append(ds, differ(path+"."+got.Type().Field(i).Name, got.Field(i), want.Field(i))...)
		}
		return ds
	case got.Kind() == reflect.Slice && got.Len() == want.Len() && got.Len() > 0 && got.Type().Elem().Kind() != reflect.Uint8:
		for i := range got.Len() {
			ds = append(ds, differ(fmt.Sprintf("%s[%d]", path, i), got.Index(i), want.Index(i))...)
		}
		return ds
	}
	return []string{fmt.Sprintf("%s: got %s, want %s", path, show(got), show(want))}
}

func show(v reflect.Value) string {
	s := fmt.Sprintf("%#v", v.Interface())
	if t, ok := v.Interface().(time.Time); ok {
		s = t.Format(time.RFC3339Nano)
	}
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return s
}
