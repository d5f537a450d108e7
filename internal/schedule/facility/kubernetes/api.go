package kubernetes

import (
	"context"
	"fmt"
	"net/http"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"

	"github.com/songhua-io/hub/internal/schedule/facility"
)

// api speaks to the API server of a cluster. It knows the two groups that are
// used: a client of all of them is most of a hub in size.
type api struct {
	http    *http.Client
	jobs    *gentype.ClientWithList[*batch.Job, *batch.JobList]
	pods    *gentype.ClientWithList[*core.Pod, *core.PodList]
	configs *gentype.ClientWithList[*core.ConfigMap, *core.ConfigMapList]
}

func newAPI(c Config) (*api, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{batch.AddToScheme, core.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	cfg := &rest.Config{
		Host: c.URL, BearerTokenFile: c.TokenFile, TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile}, UserAgent: "songhua-hub",
		QPS:            -1, // the driver and atOnce bound what is asked
		WarningHandler: rest.NoWarnings{},
	}
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	// Elsewhere nobody is to see the token.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	of := func(path string, group schema.GroupVersion) (rest.Interface, error) {
		one := rest.CopyConfig(cfg)
		one.APIPath, one.GroupVersion = path, &group
		return rest.RESTClientForConfigAndClient(one, client)
	}
	jobs, err := of("/apis", batch.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	rest, err := of("/api", core.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	params := runtime.NewParameterCodec(scheme)
	return &api{
		http:    client,
		jobs:    gentype.NewClientWithList("jobs", jobs, params, c.Namespace, func() *batch.Job { return new(batch.Job) }, func() *batch.JobList { return new(batch.JobList) }),
		pods:    gentype.NewClientWithList("pods", rest, params, c.Namespace, func() *core.Pod { return new(core.Pod) }, func() *core.PodList { return new(core.PodList) }),
		configs: gentype.NewClientWithList("configmaps", rest, params, c.Namespace, func() *core.ConfigMap { return new(core.ConfigMap) }, func() *core.ConfigMapList { return new(core.ConfigMapList) }),
	}, nil
}

// page is how many objects are read at once.
const page = 500

// pages reads a list as it is at one moment, page by page, and returns its
// version.
func pages[L meta.ListInterface](ctx context.Context, selector string, list func(context.Context, meta.ListOptions) (L, error), take func(L)) (version string, err error) {
	opts := meta.ListOptions{LabelSelector: selector, Limit: page}
	for {
		l, err := list(ctx, opts)
		if err != nil {
			return "", err
		}
		take(l)
		if opts.Continue = l.GetContinue(); opts.Continue == "" {
			return l.GetResourceVersion(), nil
		}
	}
}

func (a *api) jobsOf(ctx context.Context, selector string) (all []batch.Job, err error) {
	_, err = pages(ctx, selector, a.jobs.List, func(l *batch.JobList) { all = append(all, l.Items...) })
	return all, err
}

func (a *api) podsOf(ctx context.Context, selector string) (all []core.Pod, err error) {
	_, err = pages(ctx, selector, a.pods.List, func(l *core.PodList) { all = append(all, l.Items...) })
	return all, err
}

// podsIn lists the pods of a phase.
func (a *api) podsIn(phase core.PodPhase) func(context.Context, meta.ListOptions) (*core.PodList, error) {
	return func(ctx context.Context, o meta.ListOptions) (*core.PodList, error) {
		o.FieldSelector = "status.phase=" + string(phase)
		return a.pods.List(ctx, o)
	}
}

func exists(err error) bool { return apierrors.IsAlreadyExists(err) }

// gone reports whether what was asked about is not there, or another of its
// name is.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

// refusal is an error of the API server about work that will not be taken as it
// is: it is malformed, or forbidden by rights, quotas or policies.
func refusal(err error) error {
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) || apierrors.IsRequestEntityTooLargeError(err) {
		return fmt.Errorf("%w: %w", facility.ErrRefused, err)
	}
	return err
}
