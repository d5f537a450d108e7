package main

import "github.com/spf13/cobra"

func deviceCommand() *cobra.Command  { return &cobra.Command{Use: "device"} }
func tokenCommand() *cobra.Command   { return &cobra.Command{Use: "token"} }
func queryCommand() *cobra.Command   { return &cobra.Command{Use: "query"} }
func rejectsCommand() *cobra.Command { return &cobra.Command{Use: "rejects"} }
