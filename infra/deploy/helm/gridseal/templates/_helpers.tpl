{{- define "gridseal.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "gridseal.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gridseal.labels" -}}
{{ include "gridseal.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "gridseal.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{- /* One value as TOML; Helm reads every number as a float, and the platform takes whole ones only. */ -}}
{{- define "gridseal.toml.value" -}}
{{- if kindIs "string" . }}{{ . | toJson }}
{{- else if kindIs "bool" . }}{{ . }}
{{- else }}{{ . | int64 }}{{ end }}
{{- end }}

{{- /* The tables of the configuration: what the values say of servers, over `config`. */ -}}
{{- define "gridseal.config" -}}
{{- $run := "/run/gridseal" }}
{{- $config := deepCopy .Values.config }}
{{- with .Values.kafka }}{{ if .bootstrap }}
{{- $at := dict "bootstrap" .bootstrap "topic" (required "kafka.topic: `python -m infra.deploy.own_servers` makes the topics and prints it" .topic) "ca" (print $run "/kafka/ca.crt") "certificate" (print $run "/kafka/tls.crt") "key" (print $run "/kafka/tls.key") }}
{{- $_ := set $config "kafka" (merge $at (default dict $config.kafka)) }}
{{- end }}{{ end }}
{{- with .Values.cassandra }}{{ if .hosts }}
{{- $at := dict "hosts" .hosts "port" .port "keyspace" .keyspace "datacenter" .datacenter "heads" .heads "log_keyspace" .logKeyspace "ca" (print $run "/cassandra/ca.crt") "certificate" (print $run "/cassandra/tls.crt") "key" (print $run "/cassandra/tls.key") "passwords" (print $run "/cassandra-passwords") }}
{{- $_ := set $config "cassandra" (merge $at (default dict $config.cassandra)) }}
{{- else if .heads }}
{{- fail "cassandra.heads: cassandra.hosts says where that row is to be" }}
{{- end }}
{{- if and (not .heads) (dig "cassandra" "heads" false $config) }}
{{- fail "config.cassandra.heads: say cassandra.heads, by which the sequencers are given their password" }}
{{- end }}{{ end }}
{{- with .Values.mosquitto }}{{ if .host }}
{{- $at := dict "host" .host "port" .port "ca" (print $run "/mosquitto/ca.crt") "certificate" (print $run "/mosquitto/tls.crt") "key" (print $run "/mosquitto/tls.key") "passwords" (print $run "/mosquitto-passwords") }}
{{- $_ := set $config "mosquitto" (merge $at (default dict $config.mosquitto)) }}
{{- end }}{{ end }}
{{- with .Values.anchor }}{{ if .rpcUrl }}
{{- $at := dict "rpc_url" .rpcUrl "contract" (required "anchor.contract: the CheckpointAnchor on the chain of anchor.rpcUrl" .contract) }}
{{- if .keySecret }}{{ $_ := set $at "key_file" (print $run "/anchor/anchorer.key") }}{{ end }}
{{- $_ := set $config "anchor" (merge $at (default dict $config.anchor)) }}
{{- end }}{{ end }}
{{- $issuer := default (printf "https://%s-gateway.%s.svc:%d" (include "gridseal.fullname" .) .Release.Namespace (int .Values.services.gateway.port)) .Values.issuer }}
{{- $_ := set $config "http" (merge (dict "issuer" $issuer) (default dict $config.http)) }}
{{- $url := default (printf "mqtts://%s-collector.%s.svc:%d" (include "gridseal.fullname" .) .Release.Namespace (int .Values.services.collector.port)) .Values.mqttUrl }}
{{- $_ := set $config "mqtt" (merge (dict "url" $url) (default dict $config.mqtt)) }}
{{- range $table, $values := $config }}
[{{ $table }}]
{{- range $key, $value := $values }}
{{ $key }} = {{ include "gridseal.toml.value" $value }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Ports of host:port,host:port; a JSON list. */ -}}
{{- define "gridseal.ports" -}}
{{- $ports := list }}
{{- range splitList "," . }}{{ $ports = append $ports (regexFind "[0-9]+$" . | int) }}{{ end }}
{{- $ports | uniq | toJson }}
{{- end }}

{{- define "gridseal.rpcPort" -}}
{{- $url := urlParse .Values.anchor.rpcUrl }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- if $port }}{{ $port }}{{ else if eq $url.scheme "https" }}443{{ else }}80{{ end }}
{{- end }}

{{- /* A rule: these ports, of these peers; without peers of anybody. */ -}}
{{- define "gridseal.rule" -}}
- ports:
  {{- range .ports }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
  {{- with .peers }}
  {{ $.side }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
