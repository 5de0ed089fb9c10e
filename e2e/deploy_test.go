package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// helpOf is what a command says about itself: its flags and their variables.
func helpOf(t *testing.T, command string) string {
	t.Helper()
	p := start(t, nil, command, "--help")
	if code := p.code(); code != 0 {
		t.Fatalf("drydock %s --help exits with %d", command, code)
	}
	return p.out.String()
}

// checkArguments checks that a command line of a deployment file is one that the binary takes.
func checkArguments(t *testing.T, where string, args []string) {
	t.Helper()
	help := helpOf(t, args[0])
	for _, arg := range args[1:] {
		if name, _, _ := strings.Cut(arg, "="); strings.HasPrefix(name, "--") && !regexp.MustCompile(`(?m)^\s+`+name+`\b`).MatchString(help) {
			t.Errorf("%s: drydock %s has no flag %s", where, args[0], name)
		}
	}
}

// manifest is the part of a Kubernetes object that these tests read.
type manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Selector any `json:"selector"`
		Ports    []struct {
			TargetPort string `json:"targetPort"`
		} `json:"ports"`
		Template struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
			Spec pod `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type pod struct {
	Grace    int `json:"terminationGracePeriodSeconds"`
	Security struct {
		RunAsNonRoot bool `json:"runAsNonRoot"`
		RunAsUser    int  `json:"runAsUser"`
	} `json:"securityContext"`
	Containers []struct {
		Args  []string `json:"args"`
		Ports []struct {
			Name          string `json:"name"`
			ContainerPort int    `json:"containerPort"`
		} `json:"ports"`
		Liveness  probe `json:"livenessProbe"`
		Readiness probe `json:"readinessProbe"`
		Security  struct {
			Escalation *bool `json:"allowPrivilegeEscalation"`
			ReadOnly   bool  `json:"readOnlyRootFilesystem"`
			Caps       struct {
				Drop []string `json:"drop"`
			} `json:"capabilities"`
		} `json:"securityContext"`
		Mounts []struct {
			Name string `json:"name"`
		} `json:"volumeMounts"`
	} `json:"containers"`
	Volumes []struct {
		Name string `json:"name"`
	} `json:"volumes"`
}

type probe struct {
	Get struct {
		Path string `json:"path"`
		Port string `json:"port"`
	} `json:"httpGet"`
}

func TestKubernetesManifestsFitTogether(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../deploy/kubernetes/drydock.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var pods []manifest
	var services []manifest
	for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
		var m manifest
		if err := yaml.Unmarshal(doc, &m); err != nil {
			t.Fatal(err)
		}
		if m.APIVersion == "" || m.Kind == "" || m.Metadata.Name == "" {
			t.Errorf("an object without apiVersion, kind or name: %+v", m)
		}
		switch m.Kind {
		case "Deployment":
			pods = append(pods, m)
		case "Service", "PodDisruptionBudget":
			services = append(services, m)
		}
	}
	if len(pods) != 2 || len(services) != 2 {
		t.Fatalf("%d Deployments and %d that select their pods, want two of each", len(pods), len(services))
	}
	// The same user as in the image.
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range pods {
		spec := m.Spec.Template.Spec
		if !selects(m.Spec.Selector, m.Spec.Template.Metadata.Labels) {
			t.Errorf("%s does not select its own pods", m.Metadata.Name)
		}
		if !spec.Security.RunAsNonRoot || !strings.Contains(string(dockerfile), fmt.Sprintf("USER %d", spec.Security.RunAsUser)) {
			t.Errorf("%s runs as %d, root forbidden: %t; want the image's user", m.Metadata.Name, spec.Security.RunAsUser, spec.Security.RunAsNonRoot)
		}
		if spec.Grace < 25 {
			t.Errorf("%s is killed after %d s: it needs its drain delay and the 15 s for open requests", m.Metadata.Name, spec.Grace)
		}
		for _, c := range spec.Containers {
			checkArguments(t, m.Metadata.Name, c.Args)
			port := ""
			for _, p := range c.Ports {
				if slices.Contains(c.Args, fmt.Sprintf("--listen=0.0.0.0:%d", p.ContainerPort)) {
					port = p.Name
				}
			}
			if port == "" || c.Liveness.Get.Port != port || c.Readiness.Get.Port != port {
				t.Errorf("%s listens on none of its ports %v, or is not probed there", m.Metadata.Name, c.Ports)
			}
			if c.Liveness.Get.Path != "/healthz" || c.Readiness.Get.Path != "/readyz" {
				t.Errorf("%s is probed at %s and %s", m.Metadata.Name, c.Liveness.Get.Path, c.Readiness.Get.Path)
			}
			if c.Security.Escalation == nil || *c.Security.Escalation || !c.Security.ReadOnly || !slices.Equal(c.Security.Caps.Drop, []string{"ALL"}) {
				t.Errorf("%s is not confined: %+v", m.Metadata.Name, c.Security)
			}
			for _, mount := range c.Mounts {
				if !slices.ContainsFunc(spec.Volumes, func(v struct {
					Name string `json:"name"`
				}) bool {
					return v.Name == mount.Name
				}) {
					t.Errorf("%s mounts %s, which is no volume of it", m.Metadata.Name, mount.Name)
				}
			}
		}
	}
	for _, s := range services {
		if !slices.ContainsFunc(pods, func(p manifest) bool { return selects(s.Spec.Selector, p.Spec.Template.Metadata.Labels) }) {
			t.Errorf("%s %s selects no pods", s.Kind, s.Metadata.Name)
		}
	}
}

// selects reports whether a selector, of a Service or with matchLabels, selects pods with these labels.
func selects(selector any, labels map[string]string) bool {
	wanted, _ := selector.(map[string]any)
	if inner, ok := wanted["matchLabels"].(map[string]any); ok {
		wanted = inner
	}
	for name, value := range wanted {
		if labels[name] != value {
			return false
		}
	}
	return len(wanted) > 0
}

func TestSystemdUnitsCallWhatThereIs(t *testing.T) {
	t.Parallel()
	units, err := filepath.Glob("../deploy/systemd/*.service")
	if err != nil || len(units) != 2 {
		t.Fatalf("units are %v (%v), want two", units, err)
	}
	for _, unit := range units {
		data, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		command := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/drydock (.+)$`).FindSubmatch(data)
		if command == nil {
			t.Errorf("%s does not start drydock", unit)
			continue
		}
		checkArguments(t, unit, strings.Fields(string(command[1])))
		for _, line := range []string{"User=drydock", "Restart=on-failure", "NoNewPrivileges=yes", "ProtectSystem=strict", "TimeoutStopSec=30"} {
			if !regexp.MustCompile(`(?m)^` + line + `$`).Match(data) {
				t.Errorf("%s does not say %s", unit, line)
			}
		}
	}
	env, err := os.ReadFile("../deploy/systemd/drydock.env")
	if err != nil {
		t.Fatal(err)
	}
	help := helpOf(t, "api") + helpOf(t, "worker")
	for _, m := range regexp.MustCompile(`(?m)^(?:# )?(DRYDOCK_\w+)=`).FindAllStringSubmatch(string(env), -1) {
		if !strings.Contains(help, "$"+m[1]) {
			t.Errorf("drydock.env sets %s, which no flag reads", m[1])
		}
	}
}

// TestAPIDrainsBeforeItGoes: on SIGTERM the API says at once that it is not ready, and goes on taking new connections for the delay.
func TestAPIDrainsBeforeItGoes(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	const delay = 1500 * time.Millisecond
	api := startAPI(t, server.URL(), "--drain-delay", delay.String())
	c := newClient(t, api.url)
	if a, err := c.do(t.Context(), http.MethodGet, "/readyz", ""); err != nil || a.status != http.StatusOK {
		t.Fatalf("/readyz = %d, %v", a.status, err)
	}
	api.expectEnd()
	begin := time.Now()
	api.signal(syscall.SIGTERM)
	api.says("not ready any more")
	served := 0
	for !api.exited() {
		// A connection of its own each time, as from somebody who has not heard yet.
		c.http.CloseIdleConnections()
		ready, err1 := c.do(t.Context(), http.MethodGet, "/readyz", "")
		leases, err2 := c.do(t.Context(), http.MethodGet, "/v1/leases", "")
		if time.Since(begin) > delay*9/10 {
			break // it may go at any moment
		}
		if err1 != nil || err2 != nil || ready.status != http.StatusServiceUnavailable || leases.status != http.StatusOK {
			t.Fatalf("while draining: /readyz = %d (%v), want 503; /v1/leases = %d (%v), want 200", ready.status, err1, leases.status, err2)
		}
		served++
	}
	if code := api.code(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begin); took < delay || served == 0 {
		t.Errorf("it was gone after %s, having served %d times; want at least %s", took, served, delay)
	}
}

// TestAPIOfThisHostDoesNotWait: nobody else could be sending anything.
func TestAPIOfThisHostDoesNotWait(t *testing.T) {
	t.Parallel()
	api := startAPI(t, startRedis(t).URL())
	if code, took := api.end(syscall.SIGTERM); code != 0 || took > 4*time.Second {
		t.Errorf("exit code %d after %s, want 0 at once", code, took)
	}
	if strings.Contains(api.out.String(), "still serving") {
		t.Error("it waited")
	}
}
