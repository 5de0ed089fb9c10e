package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// compose is the part of docker-compose.yml that these tests read.
type compose struct {
	Services map[string]composeService `json:"services"`
	Volumes  map[string]any            `json:"volumes"`
}

type composeService struct {
	Image         string         `json:"image"`
	Command       []string       `json:"command"`
	ContainerName string         `json:"container_name"`
	Ports         []string       `json:"ports"`
	Volumes       []string       `json:"volumes"`
	User          string         `json:"user"`
	Restart       string         `json:"restart"`
	ReadOnly      bool           `json:"read_only"`
	CapDrop       []string       `json:"cap_drop"`
	Environment   map[string]any `json:"environment"`
	StopGrace     string         `json:"stop_grace_period"`
	Healthcheck   struct {
		Test []string `json:"test"`
	} `json:"healthcheck"`
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal(readFile(t, "docker-compose.yml"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// service finds a service, or ends the test.
func (c compose) service(t *testing.T, name string) composeService {
	t.Helper()
	s, ok := c.Services[name]
	if !ok {
		t.Fatalf("docker-compose.yml has no service %q", name)
	}
	return s
}

// has tells whether the service's command holds these arguments, one after the other.
func (s composeService) has(args ...string) bool {
	for i := range s.Command {
		if rest := s.Command[i:]; len(rest) >= len(args) && slices.Equal(rest[:len(args)], args) {
			return true
		}
	}
	return false
}

func TestComposeServicesAreHealthCheckedAndConfined(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	for _, name := range []string{"redis", "api", "worker"} {
		c.service(t, name)
	}
	for name, s := range c.Services {
		if len(s.Healthcheck.Test) < 2 || s.Healthcheck.Test[0] != "CMD" {
			t.Errorf("service %s: healthcheck %q, want a CMD (our image has no shell)", name, s.Healthcheck.Test)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("service %s: read_only %t, cap_drop %q, want true and ALL", name, s.ReadOnly, s.CapDrop)
		}
		if s.Restart == "" || s.Restart == "no" {
			t.Errorf("service %s has no restart policy", name)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("service %s opens %s to the world, want 127.0.0.1", name, port)
			}
		}
		for _, volume := range s.Volumes {
			checkVolume(t, c, name, volume)
		}
	}
}

// checkVolume wants a mount's source to be there: Docker would make an empty folder in place of a missing file.
func checkVolume(t *testing.T, c compose, service, volume string) {
	t.Helper()
	source, _, _ := strings.Cut(volume, ":")
	if !strings.HasPrefix(source, "./") {
		if _, ok := c.Volumes[source]; !ok {
			t.Errorf("service %s mounts the volume %s, which is not declared", service, source)
		}
		return
	}
	if info, err := os.Stat(filepath.Join(root, source)); err != nil || !info.Mode().IsRegular() {
		t.Errorf("service %s mounts %s, which is not a file here (%v)", service, source, err)
	}
}

func TestComposeRedisKeepsWhatItAccepted(t *testing.T) {
	t.Parallel()
	redis := readCompose(t).service(t, "redis")
	for _, flag := range [][]string{{"--appendonly", "yes"}, {"--maxmemory-policy", "noeviction"}} {
		if !redis.has(flag...) {
			t.Errorf("redis is started with %q, want %q among it", redis.Command, flag)
		}
	}
	if !slices.ContainsFunc(redis.Volumes, func(v string) bool { return strings.HasSuffix(v, ":/data") }) {
		t.Errorf("redis mounts %q, want a volume on /data", redis.Volumes)
	}
	if redis.User == "" || redis.User == "root" {
		t.Errorf("redis runs as %q, want a user without privileges", redis.User)
	}
}

func TestComposeWorkersCanBeScaled(t *testing.T) {
	t.Parallel()
	worker := readCompose(t).service(t, "worker")
	if len(worker.Ports) > 0 || worker.ContainerName != "" {
		t.Errorf("worker has ports %q and container_name %q: a second one could not start", worker.Ports, worker.ContainerName)
	}
	if worker.StopGrace == "" {
		t.Error("worker has no stop_grace_period: updates in progress would be cut off after 10 s")
	}
}

func TestComposeRolesShareImageAndRedis(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	api, worker := c.service(t, "api"), c.service(t, "worker")
	const key = "DRYDOCK_REDIS_URL"
	if api.Image != worker.Image || api.Environment[key] == nil || api.Environment[key] != worker.Environment[key] {
		t.Errorf("api uses image %s and Redis %v, worker %s and %v, want the same",
			api.Image, api.Environment[key], worker.Image, worker.Environment[key])
	}
	if !api.has("api") || !worker.has("worker") {
		t.Errorf("api runs %q, worker %q", api.Command, worker.Command)
	}
}

func TestImageIsStaticAndRunsWithoutPrivileges(t *testing.T) {
	t.Parallel()
	stages := regexp.MustCompile(`(?m)^FROM `).Split(string(readFile(t, "Dockerfile")), -1)
	if len(stages) != 3 {
		t.Fatalf("Dockerfile has %d stages, want a build stage and a final one", len(stages)-1)
	}
	build, final := stages[1], stages[2]
	if !strings.Contains(build, "CGO_ENABLED=0") || !strings.Contains(build, "-X main.version=") {
		t.Error("the build stage does not build a static binary with its version")
	}
	user := regexp.MustCompile(`(?m)^USER (\S+)$`).FindStringSubmatch(final)
	// A number: Kubernetes's runAsNonRoot cannot check a name.
	if user == nil || !regexp.MustCompile(`^[1-9]\d*(:[1-9]\d*)?$`).MatchString(user[1]) {
		t.Errorf("the final stage has the user %q, want a number that is not root's", user)
	}
}

// TestImageUsesTheGoOfGoMod catches a base image that is older than what go.mod asks for: the build would fail, or fetch a toolchain.
func TestImageUsesTheGoOfGoMod(t *testing.T) {
	t.Parallel()
	image := regexp.MustCompile(`(?m)^FROM golang:(\d+\.\d+)`).FindSubmatch(readFile(t, "Dockerfile"))
	mod := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(readFile(t, "go.mod"))
	if image == nil || mod == nil || string(image[1]) != string(mod[1]) {
		t.Errorf("Dockerfile builds with golang %q, go.mod wants %q", image, mod)
	}
}

// TestImageIsBuiltFromWholePackages catches a line of .dockerignore that hides a package from the build.
func TestImageIsBuiltFromWholePackages(t *testing.T) {
	t.Parallel()
	var ignored []string
	for line := range strings.Lines(string(readFile(t, ".dockerignore"))) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			ignored = append(ignored, line)
		}
	}
	for dir, files := range goPackages(t) {
		if len(files) > 0 && !inAny(dir, forTests) && inAny(dir, ignored) {
			t.Errorf(".dockerignore hides package %s from the image's build", dir)
		}
	}
}
