package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/rules/ruletest"
)

func rulesTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test FILE…",
		Short: "Try rules on series that are made up, as promtool does",
		Long: "test runs files in the format of `promtool test rules`: input_series, alert_rule_test, promql_expr_test. Times are those that samples carry; with query_offset a group knows at eval_time what was true so long before. " +
			"Samples may come late (delay, held_until), and alert_history_test says what stands in the history then: docs/rules.md. " +
			"A value stands for five minutes.\n以虚构的序列试验规则，文件格式同 `promtool test rules`。时间为样本自带的时间；设有 query_offset 的组在 eval_time 时所知为该时长之前的情况。可用 delay 与 held_until 表示迟到样本，用 alert_history_test 核对告警历史，见 docs/rules.md。",
		Example: "  hub rules test deploy/alerts/tests/*_test.yaml",
		Args:    someArgs("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			failed := 0
			for _, file := range files {
				n, err := tryRules(cmd, file)
				if err != nil {
					return err
				}
				failed += n
			}
			if failed > 0 {
				return fmt.Errorf("%d checks failed", failed)
			}
			return nil
		},
	}
}

// tryRules runs the tests of one file and returns how many checks failed.
func tryRules(cmd *cobra.Command, file string) (int, error) {
	out := cmd.OutOrStdout()
	suite, faults := ruletest.Load(file)
	for _, f := range faults {
		fmt.Fprintln(out, f)
	}
	if len(faults) > 0 {
		return 0, fmt.Errorf("%s has %d errors", file, len(faults))
	}
	failures, err := suite.Run(cmd.Context())
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	if len(failures) == 0 {
		fmt.Fprintf(out, "%s: %d tests passed\n", file, len(suite.File.Tests))
	}
	for _, f := range failures {
		writeFailure(out, file, f)
	}
	return len(failures), nil
}

func writeFailure(out io.Writer, file string, f ruletest.Failure) {
	fmt.Fprintf(out, "%s: %s: %s at %s (- wanted, + came)\n", file, f.Test, f.About, f.At)
	for _, line := range f.Diff {
		fmt.Fprintln(out, "  "+line)
	}
}
