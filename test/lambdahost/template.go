package lambdahost

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// template is what the host runs of template.yaml.
type template struct {
	functions map[string]Spec
	routes    []Route
	schedules []scheduled
}

type scheduled struct{ function, input string }

type resource struct {
	Type       string    `yaml:"Type"`
	Properties yaml.Node `yaml:"Properties"`
}

// readTemplate reads a SAM template and works out its references, conditions
// and intrinsic functions, as far as ours uses them.
func readTemplate(path string, values map[string]string) (template, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return template{}, fmt.Errorf("read template: %w", err)
	}
	var doc struct {
		Parameters map[string]struct {
			Default string `yaml:"Default"`
		} `yaml:"Parameters"`
		Conditions map[string]yaml.Node `yaml:"Conditions"`
		Globals    struct {
			Function yaml.Node `yaml:"Function"`
		} `yaml:"Globals"`
		Resources map[string]resource `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return template{}, fmt.Errorf("read template: %w", err)
	}
	r := &resolver{values: map[string]string{
		"AWS::Region": "us-east-1", "AWS::AccountId": "111122223333", "AWS::Partition": "aws",
		"AWS::URLSuffix": "amazonaws.com", "AWS::StackName": "keepin",
	}, conditions: doc.Conditions}
	for name, p := range doc.Parameters {
		r.values[name] = p.Default
	}
	for name := range doc.Resources {
		r.values[name] = name
	}
	maps.Copy(r.values, values)

	out := template{functions: map[string]Spec{}}
	globals, err := r.properties(&doc.Globals.Function)
	if err != nil {
		return template{}, fmt.Errorf("read template: Globals: %w", err)
	}
	properties := map[string]map[string]any{}
	for id, res := range doc.Resources {
		switch res.Type {
		case "AWS::Serverless::Function", "AWS::ApiGatewayV2::Route", "AWS::ApiGatewayV2::Integration", "AWS::ApiGatewayV2::Stage", "AWS::Scheduler::Schedule":
			p, err := r.properties(&res.Properties)
			if err != nil {
				return template{}, fmt.Errorf("read template: %s: %w", id, err)
			}
			properties[id] = p
		}
	}
	limits := map[string]any{}
	for id, p := range properties {
		switch doc.Resources[id].Type {
		case "AWS::ApiGatewayV2::Stage":
			limits, _ = p["RouteSettings"].(map[string]any)
		case "AWS::Serverless::Function":
			spec := Spec{
				Name:    strings.ToLower(strings.TrimSuffix(id, "Function")),
				Env:     map[string]string{},
				Timeout: time.Duration(number(p, globals, "Timeout")) * time.Second,
				Memory:  number(p, globals, "MemorySize"),
			}
			for _, from := range []map[string]any{globals, p} {
				env, _ := from["Environment"].(map[string]any)
				variables, _ := env["Variables"].(map[string]any)
				for k, v := range variables {
					spec.Env[k] = fmt.Sprint(v)
				}
			}
			out.functions[id] = spec
		case "AWS::Scheduler::Schedule":
			target, _ := p["Target"].(map[string]any)
			out.schedules = append(out.schedules, scheduled{functionOf(target["Arn"]), fmt.Sprint(target["Input"])})
		}
	}
	for id, p := range properties {
		if doc.Resources[id].Type != "AWS::ApiGatewayV2::Route" {
			continue
		}
		target, _ := p["Target"].(string)
		integration := properties[strings.TrimPrefix(target, "integrations/")]
		route := Route{
			Key:      fmt.Sprint(p["RouteKey"]),
			IAM:      p["AuthorizationType"] == "AWS_IAM",
			Timeout:  time.Duration(number(integration, nil, "TimeoutInMillis")) * time.Millisecond,
			function: functionOf(integration["IntegrationUri"]),
		}
		limit, _ := limits[route.Key].(map[string]any)
		route.Rate, route.Burst = number(limit, nil, "ThrottlingRateLimit"), number(limit, nil, "ThrottlingBurstLimit")
		if _, ok := out.functions[route.function]; !ok {
			return template{}, fmt.Errorf("read template: %s leads to no function", id)
		}
		out.routes = append(out.routes, route)
	}
	return out, nil
}

func number(p, fallback map[string]any, name string) int {
	v, ok := p[name]
	if !ok {
		v = fallback[name]
	}
	var n int
	_, _ = fmt.Sscan(fmt.Sprint(v), &n)
	return n
}

var functionARN = regexp.MustCompile(`function:(\w+)`)

func functionOf(arn any) string {
	m := functionARN.FindStringSubmatch(fmt.Sprint(arn))
	if m == nil {
		return ""
	}
	return m[1]
}

// resolver works out CloudFormation's intrinsic functions.
type resolver struct {
	values     map[string]string
	conditions map[string]yaml.Node
}

func (r *resolver) properties(n *yaml.Node) (map[string]any, error) {
	v, err := r.resolve(n)
	if err != nil {
		return nil, err
	}
	m, _ := v.(map[string]any)
	return m, nil
}

// noValue is AWS::NoValue: what has it is not there.
type noValue struct{}

var reference = regexp.MustCompile(`\$\{([^}]+)\}`)

func (r *resolver) resolve(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!Ref":
		return r.ref(n.Value)
	case "!GetAtt":
		return r.attribute(n.Value)
	case "!Sub":
		var bad error
		out := reference.ReplaceAllStringFunc(n.Value, func(m string) string {
			name := m[2 : len(m)-1]
			get := r.ref
			if strings.Contains(name, ".") {
				get = r.attribute
			}
			v, err := get(name)
			if err != nil {
				bad = err
			}
			return fmt.Sprint(v)
		})
		return out, bad
	case "!Condition":
		c, ok := r.conditions[n.Value]
		if !ok {
			return nil, fmt.Errorf("no condition %s", n.Value)
		}
		return r.resolve(&c)
	case "!If":
		return r.choose(n)
	}
	switch n.Kind {
	case yaml.SequenceNode:
		var list []any
		for _, c := range n.Content {
			v, err := r.resolve(c)
			if err != nil {
				return nil, err
			}
			if v != (noValue{}) {
				list = append(list, v)
			}
		}
		switch n.Tag {
		case "!Equals":
			return fmt.Sprint(list[0]) == fmt.Sprint(list[1]), nil
		case "!Not":
			return list[0] != true, nil
		case "!And":
			for _, v := range list {
				if v != true {
					return false, nil
				}
			}
			return true, nil
		case "!!seq":
			return list, nil
		}
		return nil, fmt.Errorf("line %d: the host does not know %s", n.Line, n.Tag)
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := r.resolve(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			if v != (noValue{}) {
				m[n.Content[i].Value] = v
			}
		}
		return m, nil
	case yaml.ScalarNode:
		if strings.HasPrefix(n.Tag, "!!") {
			return n.Value, nil
		}
		return nil, fmt.Errorf("line %d: the host does not know %s", n.Line, n.Tag)
	case 0:
		return nil, nil
	}
	return nil, fmt.Errorf("line %d: the host cannot read this", n.Line)
}

func (r *resolver) choose(n *yaml.Node) (any, error) {
	if len(n.Content) != 3 {
		return nil, fmt.Errorf("line %d: !If has three parts", n.Line)
	}
	yes, err := r.resolve(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!Condition", Value: n.Content[0].Value})
	if err != nil {
		return nil, err
	}
	if yes == true {
		return r.resolve(n.Content[1])
	}
	return r.resolve(n.Content[2])
}

func (r *resolver) ref(name string) (any, error) {
	if name == "AWS::NoValue" {
		return noValue{}, nil
	}
	v, ok := r.values[name]
	if !ok {
		return nil, fmt.Errorf("no parameter or resource %s", name)
	}
	return v, nil
}

func (r *resolver) attribute(name string) (any, error) {
	if v, ok := r.values[name]; ok {
		return v, nil
	}
	id, _, _ := strings.Cut(name, ".")
	if _, ok := r.values[id]; !ok {
		return nil, fmt.Errorf("no resource %s", id)
	}
	return "arn:aws:lambda:us-east-1:111122223333:function:" + id, nil
}
