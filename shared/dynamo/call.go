package dynamo

import "errors"

// What DynamoDB is asked and answers is maps, as encoding/json makes and takes
// them without looking at a type: what it learns of structs costs a function's
// start more than the call's bytes do (docs/performance.md).
//
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB.html

// item is what DynamoDB stores: a value for each name. Keys and the values of
// expressions are items too.
type item map[string]any

// value is one attribute: under its kind, which is S, N (a number's digits), B
// (base64), L or M.
type value = map[string]any

// request are the parameters of an operation, but for the table's name.
type request map[string]any

// startAt has a Query or a Scan begin behind an item; nil: at the first.
func (r request) startAt(key item) {
	if len(key) > 0 {
		r["ExclusiveStartKey"] = key
	}
}

// page is what a Query or a Scan answers.
type page struct {
	items   []item
	last    item    // where the next page begins; nil: there is none
	scanned float64 // items that were read
	units   float64 // read units, where they were asked for
}

// errAnswer quotes nothing of it.
var errAnswer = errors.New("the answer cannot be read")

func toPage(answer map[string]any) (p page, err error) {
	list, err := within[[]any](answer, "Items")
	if err != nil {
		return page{}, err
	}
	for _, i := range list {
		one, ok := i.(map[string]any)
		if !ok {
			return page{}, errAnswer
		}
		p.items = append(p.items, one)
	}
	if p.last, err = within[map[string]any](answer, "LastEvaluatedKey"); err != nil {
		return page{}, err
	}
	if p.scanned, err = within[float64](answer, "ScannedCount"); err != nil {
		return page{}, err
	}
	capacity, err := within[map[string]any](answer, "ConsumedCapacity")
	if err != nil {
		return page{}, err
	}
	p.units, err = within[float64](capacity, "CapacityUnits")
	return p, err
}

// within is a member of an answer; the zero T where it is absent or null.
func within[T any](answer map[string]any, name string) (v T, err error) {
	if answer[name] == nil {
		return v, nil
	}
	v, ok := answer[name].(T)
	if !ok {
		return v, errAnswer
	}
	return v, nil
}

const specificAttributes = "SPECIFIC_ATTRIBUTES"
