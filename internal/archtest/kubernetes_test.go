package archtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// manifests are the objects of deploy/kubernetes/drydock.yaml, read with the types of Kubernetes itself.
type manifests struct {
	t           *testing.T
	text        string
	deployments []appsv1.Deployment
	services    []corev1.Service
	budgets     []policyv1.PodDisruptionBudget
	accounts    []corev1.ServiceAccount
}

// readManifests reads strictly: an unknown field, one that comes twice and one of another type are errors, and so is a kind that these
// tests do not know.
func readManifests(t *testing.T) *manifests {
	t.Helper()
	data := readFile(t, "deploy/kubernetes/drydock.yaml")
	m := &manifests{t: t, text: string(data)}
	names := map[string]bool{}
	for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
		var about struct {
			metav1.TypeMeta `json:",inline"`

			Metadata metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal(doc, &about); err != nil {
			t.Fatal(err)
		}
		what := about.APIVersion + " " + about.Kind + " " + about.Metadata.Name
		if names[what] {
			t.Errorf("%s comes twice", what)
		}
		names[what] = true
		var err error
		switch about.APIVersion + " " + about.Kind {
		case "apps/v1 Deployment":
			m.deployments, err = decodeOne(m.deployments, doc)
		case "v1 Service":
			m.services, err = decodeOne(m.services, doc)
		case "policy/v1 PodDisruptionBudget":
			m.budgets, err = decodeOne(m.budgets, doc)
		case "v1 ServiceAccount":
			m.accounts, err = decodeOne(m.accounts, doc)
		default:
			t.Errorf("%s is of a kind that this test does not know: teach it", what)
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		m.refuse(what+": name", validation.IsDNS1123Label(about.Metadata.Name))
		m.labels(what, about.Metadata.Labels)
	}
	return m
}

func decodeOne[T any](list []T, doc []byte) ([]T, error) {
	var v T
	err := yaml.UnmarshalStrict(doc, &v, func(d *json.Decoder) *json.Decoder {
		d.DisallowUnknownFields()
		return d
	})
	return append(list, v), err
}

// refuse reports what is wrong with something.
func (m *manifests) refuse(what string, problems []string) {
	m.t.Helper()
	if len(problems) > 0 {
		m.t.Errorf("%s: %s", what, strings.Join(problems, "; "))
	}
}

func (m *manifests) labels(what string, set map[string]string) {
	m.t.Helper()
	for name, value := range set {
		m.refuse(what+": label "+name, append(validation.IsQualifiedName(name), validation.IsValidLabelValue(value)...))
	}
}

// selected returns the deployments whose pods a selector selects.
func (m *manifests) selected(what string, s labels.Selector) (out []appsv1.Deployment) {
	m.t.Helper()
	if s.Empty() {
		m.t.Errorf("%s selects everything", what)
	}
	for i := range m.deployments {
		if s.Matches(labels.Set(m.deployments[i].Spec.Template.Labels)) {
			out = append(out, m.deployments[i])
		}
	}
	return out
}

func (m *manifests) selector(what string, s *metav1.LabelSelector) labels.Selector {
	m.t.Helper()
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil || s == nil {
		m.t.Fatalf("%s: selector %v: %v", what, s, err)
	}
	return out
}

func TestKubernetesManifestsAreValid(t *testing.T) {
	t.Parallel()
	m := readManifests(t)
	if len(m.deployments) != 2 || len(m.services) != 1 || len(m.budgets) != 1 || len(m.accounts) != 1 {
		t.Fatalf("%d Deployments, %d Services, %d PodDisruptionBudgets and %d ServiceAccounts, want 2, 1, 1 and 1",
			len(m.deployments), len(m.services), len(m.budgets), len(m.accounts))
	}
	for i := range m.deployments {
		d := &m.deployments[i]
		m.labels(d.Name+": pods", d.Spec.Template.Labels)
		if s := m.selected(d.Name, m.selector(d.Name, d.Spec.Selector)); len(s) != 1 || s[0].Name != d.Name {
			t.Errorf("%s selects the pods of %d deployments, want its own and no others", d.Name, len(s))
		}
		if d.Spec.Replicas == nil || *d.Spec.Replicas < 2 {
			t.Errorf("%s has not two replicas or more", d.Name)
		}
		m.pod(d.Name, &d.Spec.Template.Spec)
	}
	for i := range m.services {
		s := &m.services[i]
		behind := m.selected(s.Name, labels.SelectorFromSet(s.Spec.Selector))
		if len(behind) != 1 || len(s.Spec.Ports) == 0 {
			t.Errorf("Service %s has %d ports and the pods of %d deployments behind it, want those of one", s.Name, len(s.Spec.Ports), len(behind))
			continue
		}
		for _, p := range s.Spec.Ports {
			m.refuse(s.Name+": port", append(validation.IsDNS1123Label(p.Name), validation.IsValidPortNum(int(p.Port))...))
			if !hasPort(&behind[0].Spec.Template.Spec, p.TargetPort) {
				t.Errorf("Service %s sends to port %s, which the pods of %s do not have", s.Name, p.TargetPort.String(), behind[0].Name)
			}
		}
	}
	for i := range m.budgets {
		b := &m.budgets[i]
		of := m.selected(b.Name, m.selector(b.Name, b.Spec.Selector))
		if len(of) != 1 {
			t.Errorf("PodDisruptionBudget %s is for the pods of %d deployments, want one", b.Name, len(of))
			continue
		}
		if least := b.Spec.MinAvailable; b.Spec.MaxUnavailable != nil || least == nil || least.Type != intstr.Int || least.IntVal < 1 || least.IntVal >= *of[0].Spec.Replicas {
			t.Errorf("PodDisruptionBudget %s wants %v of %d pods, and at most %v away: no node could ever be drained, or all pods at once",
				b.Name, least, *of[0].Spec.Replicas, b.Spec.MaxUnavailable)
		}
	}
}

func hasPort(pod *corev1.PodSpec, target intstr.IntOrString) bool {
	for i := range pod.Containers {
		for _, p := range pod.Containers[i].Ports {
			if target.Type == intstr.String && p.Name == target.StrVal || target.Type == intstr.Int && p.ContainerPort == target.IntVal {
				return true
			}
		}
	}
	return false
}

// pod checks what the API server would refuse, what the profile "restricted" of the Pod Security Standards would, and what Drydock does not
// know.
func (m *manifests) pod(what string, pod *corev1.PodSpec) {
	t := m.t
	t.Helper()
	if !slices.ContainsFunc(m.accounts, func(a corev1.ServiceAccount) bool { return a.Name == pod.ServiceAccountName }) {
		t.Errorf("%s runs as the service account %q, which is not declared", what, pod.ServiceAccountName)
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("%s gets a token of Kubernetes, for which it has no use", what)
	}
	s := pod.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s is not confined as a pod: %+v", what, s)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		m.refuse(what+": volume", validation.IsDNS1123Label(v.Name))
		if volumes[v.Name] {
			t.Errorf("%s has the volume %s twice", what, v.Name)
		}
		volumes[v.Name] = true
		switch {
		case v.Secret != nil:
			for _, item := range v.Secret.Items {
				m.provided(what, "secret generic", v.Secret.SecretName, item.Key)
			}
		case v.ConfigMap != nil:
			m.provided(what, "configmap", v.ConfigMap.Name, "")
		default:
			t.Errorf("%s: volume %s is of a sort that this test does not know", what, v.Name)
		}
	}
	names := map[string]bool{}
	for i := range pod.Containers {
		c := &pod.Containers[i]
		m.refuse(what+": container", validation.IsDNS1123Label(c.Name))
		if names[c.Name] || c.Image == "" {
			t.Errorf("%s: container %q comes twice or has no image %q", what, c.Name, c.Image)
		}
		names[c.Name] = true
		m.container(what, c)
		m.mounts(what, c, volumes)
	}
	if len(names) == 0 {
		t.Errorf("%s has no containers", what)
	}
}

func (m *manifests) container(what string, c *corev1.Container) {
	t := m.t
	t.Helper()
	ports := map[string]bool{}
	for _, p := range c.Ports {
		m.refuse(what+": port", append(validation.IsValidPortName(p.Name), validation.IsValidPortNum(int(p.ContainerPort))...))
		ports[p.Name] = true
	}
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		switch {
		case probe == nil:
			if name != "startup" {
				t.Errorf("%s has no %s probe", what, name)
			}
		case probe.HTTPGet == nil || probe.Exec != nil || probe.TCPSocket != nil || probe.GRPC != nil:
			t.Errorf("%s: the %s probe is no HTTP request: %+v", what, name, probe.ProbeHandler)
		case !ports[probe.HTTPGet.Port.StrVal]:
			t.Errorf("%s: the %s probe asks port %s, which the container does not name", what, name, probe.HTTPGet.Port.String())
		case !m.served(probe.HTTPGet.Path):
			t.Errorf("%s: the %s probe asks for %s, which openapi.json does not have", what, name, probe.HTTPGet.Path)
		case name != "readiness" && probe.HTTPGet.Path != "/healthz":
			t.Errorf("%s: the %s probe asks for %s; a Redis that is away must not restart it", what, name, probe.HTTPGet.Path)
		}
	}
	for name, limit := range c.Resources.Limits {
		if request, ok := c.Resources.Requests[name]; ok && request.Cmp(limit) > 0 {
			t.Errorf("%s asks for more %s than it may have", what, name)
		}
	}
	if _, ok := c.Resources.Limits[corev1.ResourceMemory]; !ok {
		t.Errorf("%s has no bound on its memory", what)
	}
	s := c.SecurityContext
	if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Capabilities == nil ||
		!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		s.Privileged != nil && *s.Privileged {
		t.Errorf("%s is not confined: %+v", what, s)
	}
	section := m.section(c.Args)
	for _, arg := range c.Args[min(1, len(c.Args)):] {
		name, _, _ := strings.Cut(arg, "=")
		if !regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(name) + "[ `]").MatchString(section) {
			t.Errorf("%s is started with %s, which docs/configuration.md does not have", what, arg)
		}
	}
	for _, e := range c.Env {
		if !strings.Contains(section, "`"+e.Name+"`") {
			t.Errorf("%s sets %s, which docs/configuration.md does not have", what, e.Name)
		}
		if ref := e.ValueFrom; ref != nil && ref.SecretKeyRef != nil {
			m.provided(what, "secret generic", ref.SecretKeyRef.Name, ref.SecretKeyRef.Key)
		} else if e.Value == "" {
			t.Errorf("%s sets %s to nothing", what, e.Name)
		}
	}
}

// mounts checks that a container mounts what there is, and that its arguments name files of it.
func (m *manifests) mounts(what string, c *corev1.Container, volumes map[string]bool) {
	m.t.Helper()
	var paths []string
	for _, v := range c.VolumeMounts {
		if !volumes[v.Name] || !strings.HasPrefix(v.MountPath, "/") || slices.Contains(paths, v.MountPath) {
			m.t.Errorf("%s mounts %s at %q: there is no such volume, or it is no place for it", what, v.Name, v.MountPath)
		}
		paths = append(paths, v.MountPath)
	}
	for _, arg := range c.Args {
		if _, file, ok := strings.Cut(arg, "=/"); ok && !slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix("/"+file, p+"/") }) {
			m.t.Errorf("%s is started with %s, where nothing is mounted", what, arg)
		}
	}
}

// provided checks that the commands at the head of the file create a Secret or ConfigMap, with this key.
func (m *manifests) provided(what, kind, name, key string) {
	m.t.Helper()
	for line := range strings.Lines(m.text) {
		if strings.HasPrefix(line, "#") && strings.Contains(line, fmt.Sprintf("create %s %s ", kind, name)) &&
			(strings.Contains(line, "="+key+"=") || strings.Contains(line, "--from-file="+key)) {
			return
		}
	}
	m.t.Errorf("%s needs the %s %s with %q, and the commands at the head of the file do not create it", what, kind, name, key)
}

// served tells whether the API serves a path. The worker serves its probes at the same ones.
func (m *manifests) served(path string) bool {
	m.t.Helper()
	var doc struct {
		Paths map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(readFile(m.t, "api/openapi.json"), &doc); err != nil {
		m.t.Fatal(err)
	}
	return doc.Paths[path] != nil
}

// section returns what docs/configuration.md says about the command that a container runs.
func (m *manifests) section(args []string) string {
	m.t.Helper()
	if len(args) == 0 {
		m.t.Fatal("a container without arguments")
	}
	_, section, ok := strings.Cut(string(readFile(m.t, "docs/configuration.md")), "\n## drydock "+args[0]+"\n")
	if !ok {
		m.t.Fatalf("docs/configuration.md has no section on drydock %s", args[0])
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}
