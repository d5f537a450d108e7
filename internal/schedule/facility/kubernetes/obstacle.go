package kubernetes

import (
	"context"
	"encoding/json"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// GiveUpAfter is how long a node may fail to make the container of a member, as
// when it cannot pull the image, before the member has failed. A node itself
// tries for ever, at least every 5 minutes.
const GiveUpAfter = 10 * time.Minute

// giveUp ends the jobs whose containers could not be made for too long. They
// end in the cluster, with the reason, so that they are not begun late and a hub
// that comes later knows it too.
func (e *Engine) giveUp(ctx context.Context, v *view, now time.Time) error {
	if !v.waits() {
		return nil
	}
	before := now.Add(-GiveUpAfter)
	var stuck []core.Pod
	_, err := pages(ctx, e.all(), e.api.podsIn(core.PodPending), func(l *core.PodList) {
		for _, p := range l.Items {
			if p.Status.StartTime != nil && p.Status.StartTime.Time.Before(before) && obstacle(&p) != "" {
				stuck = append(stuck, p)
			}
		}
	})
	if err != nil {
		return err
	}
	return each(ctx, stuck, func(ctx context.Context, p core.Pod) error {
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"annotations": map[string]string{failureNote: obstacle(&p)}},
			"spec":     map[string]int64{"activeDeadlineSeconds": 1}, // which is over
		})
		if err != nil {
			return err
		}
		_, err = e.api.jobs.Patch(ctx, p.Labels[batch.JobNameLabel], types.MergePatchType, patch, meta.PatchOptions{})
		if gone(err) {
			return nil
		}
		return err
	})
}

// obstacle is why the container of a pod could not be made when that was last
// tried, such as ErrImagePull; empty where it was not. What the registry said may
// be secret.
func obstacle(p *core.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil && w.Reason != "" && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return w.Reason + " of " + s.Image
		}
	}
	return ""
}
