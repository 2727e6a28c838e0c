package scale_test

import (
	"cmp"
	"encoding/json"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// table is as much of DynamoDB as a pass uses, in memory, with a real table's
// time to answer: no stand-in is quick enough to be worked at this rate.
type table struct {
	mu    sync.Mutex
	takes time.Duration // what an answer takes
	items map[string]entry
	due   map[string][]place // by shard, in order
}

type entry struct {
	item  map[string]map[string]any
	place place
	shard string
}

// place is where an item stands in the index.
type place struct {
	at int64
	pk string
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.at, q.at), strings.Compare(p.pk, q.pk))
}

func newTable() *table {
	return &table{items: map[string]entry{}, due: map[string][]place{}}
}

// clear empties it.
func (t *table) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.items)
	clear(t.due)
}

// slow makes every answer take so long.
func (t *table) slow(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.takes = d
}

func (t *table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var in struct {
		Key, Item, ExclusiveStartKey, ExpressionAttributeValues map[string]map[string]any
		Limit                                                   int
	}
	_ = json.Unmarshal(body, &in)
	status, answer := http.StatusOK, any(struct{}{})
	t.mu.Lock()
	takes := t.takes
	switch _, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); operation {
	case "GetItem":
		if e, ok := t.items[key(in.Key)]; ok {
			answer = map[string]any{"Item": e.item}
		}
	case "PutItem":
		old, conditional := in.ExpressionAttributeValues[":old"]
		if have, there := t.items[key(in.Item)]; conditional && (!there || have.item["r"]["S"] != old["S"]) || !conditional && there {
			status, answer = http.StatusBadRequest, map[string]string{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}
			break
		}
		t.put(in.Item)
	case "Query":
		answer = t.query(in.ExpressionAttributeValues, in.ExclusiveStartKey, in.Limit)
	default:
		status = http.StatusBadRequest
	}
	out, _ := json.Marshal(answer)
	t.mu.Unlock()
	time.Sleep(takes) //nolint:forbidigo // the time of a real table
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(out)), 10))
	w.WriteHeader(status)
	_, _ = w.Write(out)
}

func key(item map[string]map[string]any) string {
	pk, _ := item["pk"]["S"].(string)
	sk, _ := item["sk"]["S"].(string)
	return pk + " " + sk
}

func int64Of(a map[string]any) int64 {
	s, _ := a["N"].(string)
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func (t *table) put(item map[string]map[string]any) {
	k := key(item)
	if old, ok := t.items[k]; ok && old.shard != "" {
		if i, found := slices.BinarySearchFunc(t.due[old.shard], old.place, place.compare); found {
			t.due[old.shard] = slices.Delete(t.due[old.shard], i, i+1)
		}
	}
	e := entry{item: item}
	if shard, ok := item["ds"]["N"].(string); ok {
		pk, _ := item["pk"]["S"].(string)
		e.shard, e.place = shard, place{int64Of(item["dt"]), pk}
		i, _ := slices.BinarySearchFunc(t.due[shard], e.place, place.compare)
		t.due[shard] = slices.Insert(t.due[shard], i, e.place)
	}
	t.items[k] = e
}

func (t *table) query(values, start map[string]map[string]any, limit int) any {
	shard, _ := values[":shard"]["N"].(string)
	before := int64Of(values[":before"])
	all, from := t.due[shard], 0
	if start != nil {
		pk, _ := start["pk"]["S"].(string)
		i, found := slices.BinarySearchFunc(all, place{int64Of(start["dt"]), pk}, place.compare)
		if from = i; found {
			from++
		}
	}
	items := []any{}
	for _, p := range all[from:] {
		if p.at > before || len(items) == limit {
			break
		}
		items = append(items, map[string]any{"pk": map[string]string{"S": p.pk}, "dt": map[string]string{"N": strconv.FormatInt(p.at, 10)}})
	}
	return map[string]any{"Items": items, "Count": len(items), "ScannedCount": len(items)}
}
