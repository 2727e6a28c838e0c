package dynamo

// What DynamoDB is asked and answers, as its JSON has it.
//
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB.html

// item is what DynamoDB stores; keys and the values of expressions are items too.
type item map[string]value

// value is one attribute: exactly one field is set.
type value struct {
	S *string `json:",omitempty"`
	N string  `json:",omitempty"` // a number's digits
	B []byte  `json:",omitempty"`
	L []value `json:",omitempty"`
	M item    `json:",omitempty"`
}

type getItem struct {
	TableName      string
	Key            item
	ConsistentRead bool
}

type putItem struct {
	TableName                 string
	Item                      item
	ConditionExpression       string `json:",omitempty"`
	ExpressionAttributeValues item   `json:",omitempty"`
}

type deleteItem struct {
	TableName string
	Key       item
}

// query is a Query, and without a key condition a Scan.
type query struct {
	TableName                 string
	IndexName                 string `json:",omitempty"`
	KeyConditionExpression    string `json:",omitempty"`
	FilterExpression          string `json:",omitempty"`
	ExpressionAttributeValues item   `json:",omitempty"`
	ProjectionExpression      string `json:",omitempty"`
	Select                    string `json:",omitempty"`
	ConsistentRead            bool   `json:",omitempty"`
	ScanIndexForward          *bool  `json:",omitempty"`
	Limit                     int    `json:",omitempty"`
	ExclusiveStartKey         item   `json:",omitempty"`
	ReturnConsumedCapacity    string `json:",omitempty"`
}

// page is what a Query or a Scan answers.
type page struct {
	Items            []item
	ScannedCount     int
	LastEvaluatedKey item
	ConsumedCapacity struct{ CapacityUnits float64 }
}

const specificAttributes = "SPECIFIC_ATTRIBUTES"
