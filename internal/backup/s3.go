package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3 is a target in a bucket of a service that speaks the API of S3.
type s3 struct {
	client         *minio.Client
	bucket, prefix string
	shown          string
}

// OpenS3 returns a target at an address such as s3://bucket/prefix. The service
// is at endpoint, such as https://s3.example.org, else at AWS. Credentials come from
// the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), ~/.aws/credentials, or the
// machine's role.
func OpenS3(ctx context.Context, address, endpoint string) (Target, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%.200q is no place in S3: write s3://BUCKET/PREFIX, and credentials into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", address)
	}
	if endpoint == "" {
		endpoint = "https://s3.amazonaws.com"
	}
	e, err := url.Parse(endpoint)
	if err != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https" {
		return nil, fmt.Errorf("%.200q is no endpoint of S3: write its scheme and host, such as https://s3.example.org", endpoint)
	}
	client, err := minio.New(e.Host, &minio.Options{
		Secure: e.Scheme == "https",
		Creds:  credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}}),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	t := &s3{client: client, bucket: u.Host, prefix: strings.Trim(u.Path, "/"), shown: address}
	if t.prefix != "" {
		t.prefix += "/"
	}
	exists, err := client.BucketExists(ctx, t.bucket)
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", address, endpoint, err)
	}
	if !exists {
		return nil, fmt.Errorf("%s at %s: there is no bucket %s; create it first", address, endpoint, t.bucket)
	}
	return t, nil
}

func (t *s3) String() string { return t.shown }

func (t *s3) Close() error { return nil }

func (t *s3) Put(ctx context.Context, name string, data []byte) error {
	_, err := t.client.PutObject(ctx, t.bucket, t.prefix+name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true})
	return err
}

func (t *s3) Get(ctx context.Context, name string) ([]byte, error) {
	o, err := t.client.GetObject(ctx, t.bucket, t.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, absent(err)
	}
	data, err := io.ReadAll(o)
	return data, errors.Join(absent(err), o.Close())
}

// absent makes fs.ErrNotExist of the service's word for it.
func absent(err error) error {
	if err != nil && minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

func (t *s3) List(ctx context.Context, prefix string, f func(string, int64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range t.client.ListObjects(ctx, t.bucket, minio.ListObjectsOptions{Prefix: t.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return o.Err
		}
		if err := f(strings.TrimPrefix(o.Key, t.prefix), o.Size); err != nil {
			return err
		}
	}
	return nil
}

func (t *s3) Delete(ctx context.Context, name string) error {
	err := t.client.RemoveObject(ctx, t.bucket, t.prefix+name, minio.RemoveObjectOptions{})
	if errors.Is(absent(err), fs.ErrNotExist) {
		return nil
	}
	return err
}
