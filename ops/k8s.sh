#!/usr/bin/env bash
# make k8s-render, k8s-diff, k8s-deploy, k8s-rollback: the manifests of k8s/, with what is yours in them.
#
#   k8s.sh render OVERLAY      print the manifests; values of your own secrets only with SHOW_SECRETS=yes
#   k8s.sh diff OVERLAY        compare them with what runs in the cluster
#   k8s.sh deploy OVERLAY      apply settings; migrate and wait; roll out and wait
#   k8s.sh rollback OVERLAY    put the release before back, for api, worker and beat alike; the database stays as it is
#
# OVERLAY is dev or vke. What changes a cluster only says what it would do, unless CONFIRM=yes.
# TAG (dev) is the version of the images. Files of yours in k8s/overlays/OVERLAY stand in for the examples of that name.
# RELEASE is where a rollback goes, if not to the release before.
# KUBECTL chooses another kubectl, CONTEXT another cluster than the current one.
set -euo pipefail
cd "$(dirname "$0")/.."

KUBECTL=${KUBECTL:-.venv-k8s/bin/kubectl}
TAG=${TAG:-dev}
MIGRATION_SECONDS=${MIGRATION_SECONDS:-3600}
LOOK_SECONDS=${LOOK_SECONDS:-2}
ROLLOUT_SECONDS=${ROLLOUT_SECONDS:-600}
NAMESPACE=todo
EXAMPLE_REGISTRY=todo-cn-beijing.cr.volces.com/todo # in k8s/overlays/vke/kustomization.yaml

give_up() {
    printf '%s\n' "$*" >&2
    exit 1
}

usage="usage: ops/k8s.sh render|diff|deploy|rollback dev|vke"
action=${1:?$usage}
overlay=${2:?$usage}
[ -d "k8s/overlays/$overlay" ] || give_up "There is no overlay $overlay. $usage"
command -v "$KUBECTL" >/dev/null || give_up "There is no kubectl at $KUBECTL: make .venv-k8s/.ready installs one, KUBECTL=... names another."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
manifests=$scratch/manifests.yaml

# ---- Rendering ------------------------------------------------------------------------------------------------------

# value NAME FILE: of a file of NAME=value lines.
value() {
    sed -n "s/^$1=//p" "$2" | tail -1
}

# The file that counts: yours, or else the example.
chosen() {
    local mine=k8s/overlays/$overlay/$1
    if [ -e "$mine" ]; then echo "$mine"; else echo "$mine.example"; fi
}

render() {
    local example mine registry components
    [[ $TAG =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] || give_up "TAG=$TAG is no tag of an image."
    # A copy, so that your files can take the examples' place. The programs of backups are in ops.
    mkdir "$scratch/tree" "$scratch/tree/render"
    cp -R k8s ops "$scratch/tree/"
    for example in "k8s/overlays/$overlay"/*.example; do
        mine=${example%.example}
        if [ -e "$mine" ]; then cp "$mine" "$scratch/tree/$example"; fi
    done
    registry=
    components=
    if [ -e "k8s/overlays/$overlay/cluster.env.example" ]; then
        registry=$(value REGISTRY "$(chosen cluster.env)")/
        components=$(value COMPONENTS "$(chosen cluster.env)")
    fi
    kustomization "$registry" "$components" >"$scratch/tree/render/kustomization.yaml"
    "$KUBECTL" kustomize "$scratch/tree/render" >"$manifests" || give_up "kustomize refuses k8s/overlays/$overlay: the lines above say why."
    name_migration
    name_release
}

# kustomization REGISTRY/ COMPONENTS: the outermost layer, with the images of this release.
kustomization() {
    local image component before=
    if [ -n "$1" ]; then before=$EXAMPLE_REGISTRY/; fi
    printf 'resources: [../k8s/overlays/%s]\n' "$overlay"
    echo "images:"
    for image in todo-api todo-worker; do
        printf '  - {name: "%s", newName: "%s", newTag: "%s"}\n' "$before$image" "$1$image" "$TAG"
    done
    if [ -n "$1" ]; then printf '  - {name: "%spostgres", newName: "%spostgres"}\n' "$before" "$1"; fi
    echo "components:"
    for component in $2; do printf '  - ../k8s/components/%s\n' "$component"; done
}

# The migration's Job is named after its image and after everything in it, the settings' and secrets' own hashes included:
# a Job's template cannot be changed, so another template is another Job.
name_migration() {
    local name hash
    hash=$(awk 'BEGIN { RS = "\n---\n" } /(^|\n)kind: Job\n/' "$manifests" | sha256sum | cut -c 1-10)
    name=migrate-$(tr 'A-Z_.' 'a-z--' <<<"${TAG:0:40}" | sed 's/^-*//; s/-*$//')-$hash
    awk -v name="$name" '
        /^kind: / { job = $0 == "kind: Job" }
        job && /^  name: migrate$/ { $0 = "  name: " name }
        { print }' "$manifests" >"$manifests.named"
    mv "$manifests.named" "$manifests"
    migration=$name
}

# Gives pods the name of the release: the tag, and a hash of the Deployments of api, worker and beat. So each deploy
# that changes one of them is a revision of all three, and a rollback finds the revisions that belong together.
name_release() {
    local hash
    hash=$(awk 'BEGIN { RS = "\n---\n" } /(^|\n)kind: Deployment\n/ && /\n        todo\/release: / { print; print "---" }' \
        "$manifests" | sha256sum | cut -c 1-10)
    sed "s|^        todo/release: .*|        todo/release: \"$TAG-$hash\"|" "$manifests" >"$manifests.named"
    mv "$manifests.named" "$manifests"
}

# ---- Acting ---------------------------------------------------------------------------------------------------------

kubectl() {
    "$KUBECTL" ${CONTEXT:+--context "$CONTEXT"} "$@"
}

# Prints a command, and runs it if CONFIRM=yes.
act() {
    local argument line=kubectl
    for argument; do
        if [[ $argument = *" "* ]]; then argument="'$argument'"; fi
        line+=" ${argument#"$scratch"/}"
    done
    echo "$ $line"
    if [ "${CONFIRM:-}" = yes ]; then kubectl "$@"; fi
}

need_cluster() {
    local context
    context=${CONTEXT:-$("$KUBECTL" config current-context 2>/dev/null)} || context=
    if [ -z "$context" ]; then
        if [ "${1:-}" = plan ] && [ "${CONFIRM:-}" != yes ]; then context="none yet"; else
            give_up "kubectl has no current context: it does not know of a cluster."
        fi
    fi
    printf 'Cluster: %s   Overlay: %s   Tag: %s\n' "$context" "$overlay" "$TAG"
}

# Refuses example values in a real cluster.
refuse_examples() {
    local example file
    [ "$overlay" != dev ] || return 0
    for example in "k8s/overlays/$overlay"/*.example; do
        file=$(chosen "$(basename "$example" .example)")
        case $example in
            */secrets.env.example)
                if [[ " $(value COMPONENTS "$(chosen cluster.env)") " = *" external-secrets "* ]]; then continue; fi
                ;;
            */redis-ca.pem.example)
                if [[ $(value REDIS_URL "$(chosen settings.env)") != *redis_ca* ]]; then continue; fi
                ;;
        esac
        if grep -v '^#' "$file" | grep --quiet replace-me; then
            give_up "$file still has example values (replace-me). Copy it to ${example%.example} and fill in your own."
        fi
    done
    case $TAG in dev | latest | example) give_up "TAG=$TAG does not name a release. Set TAG to the version that you have pushed." ;; esac
}

ready() {
    act --namespace "$NAMESPACE" rollout status "$1" --timeout "${ROLLOUT_SECONDS}s"
}

# The conditions that a Job is in.
job_state() {
    kubectl --namespace "$NAMESPACE" get job "$migration" --ignore-not-found \
        --output jsonpath="{.status.conditions[?(@.status==\"True\")].type}"
}

# Waits for the Job's success or failure: `kubectl wait` waits for one of them only. An ended Job proves nothing about
# today's database, which may have been restored since, so it is replaced: a repeated migration changes nothing.
migrate() {
    local state deadline=$((SECONDS + MIGRATION_SECONDS))
    if [ "${CONFIRM:-}" = yes ]; then
        state=$(job_state) ||
            give_up "The cluster does not say whether job/$migration is there, so nothing was migrated or rolled out."
        case $state in *Complete* | *Failed*) act --namespace "$NAMESPACE" delete job "$migration" --ignore-not-found ;; esac
    fi
    act apply --filename "$manifests" --selector app.kubernetes.io/component=migrate
    printf '  (waits until job/%s has succeeded or failed)\n' "$migration"
    [ "${CONFIRM:-}" = yes ] || return 0
    while true; do
        # That the cluster does not answer once says nothing of the migration.
        state=$(job_state) || state=unknown
        case $state in
            *Complete*) return 0 ;;
            *Failed*)
                kubectl --namespace "$NAMESPACE" logs "job/$migration" --tail 50 >&2 || true
                give_up "The migration has failed, so nothing was rolled out: the old code goes on."
                ;;
        esac
        ((SECONDS < deadline)) || break
        sleep "$LOOK_SECONDS"
    done
    if [ "$state" = unknown ]; then state="the cluster does not answer"; else state="it still runs"; fi
    give_up "How the migration ends is unknown after $MIGRATION_SECONDS s ($state), so nothing was rolled out.
Look: kubectl -n $NAMESPACE logs job/$migration   Then deploy again, with the same tag."
}

deploy() {
    refuse_examples
    need_cluster plan
    grep --extended-regexp --only-matching 'image: .*' "$manifests" | sort --unique | sed 's/^/  /'
    act apply --filename "$manifests" --selector 'app.kubernetes.io/component in (config,database,redis)'
    if grep --quiet 'app.kubernetes.io/component: database' "$manifests" && [ "$overlay" = dev ]; then
        ready statefulset/db
        ready deployment/redis
    fi
    migrate
    act apply --filename "$manifests"
    for name in api worker beat; do
        ready "deployment/$name" || give_up "$name did not become ready. make k8s-rollback OVERLAY=$overlay puts the release before back."
    done
    closing "Deployed."
}

# Prints every revision of api, worker and beat in the cluster, the newest first: component, revision, release. If it
# was deployed without a release's name, its image's tag stands for it.
revisions() {
    local of="{.metadata.labels.app\.kubernetes\.io/component}|{.metadata.annotations.deployment\.kubernetes\.io/revision}"
    of+="|{.spec.template.metadata.annotations.todo/release}|{.spec.template.spec.containers[0].image}"
    kubectl --namespace "$NAMESPACE" get replicaset --selector 'app.kubernetes.io/component in (api,worker,beat)' \
        --output jsonpath="{range .items[*]}$of{\"\n\"}{end}" |
        awk -F '|' 'NF == 4 { tag = $4; sub(/.*:/, "", tag); print $1, $2, $3 != "" ? $3 : tag }' | sort --key 2nr,2
}

# newest_of COMPONENT RELEASE: the newest revision that it has of this release.
newest_of() {
    awk -v component="$1" -v release="$2" '$1 == component && $3 == release { print $2; exit }' <<<"$known"
}

# Rolls back all three Deployments to one release, found by its name, or none of them. Each Deployment counts its own
# revisions, so "one back" may be another release for each.
rollback() {
    local known name now target=${RELEASE:-} revision missing=()
    local -A current to
    need_cluster
    known=$(revisions) || give_up "The cluster does not say which releases it has, so nothing was rolled back."
    for name in api worker beat; do
        current[$name]=$(awk -v component="$name" '$1 == component { print $3; exit }' <<<"$known")
    done
    now=${current[api]}
    [ -n "$target" ] || target=$(awk -v now="$now" '$1 == "api" && $3 != now { print $3; exit }' <<<"$known")
    [ -n "$target" ] || give_up "The cluster has no release beside ${now:-none}: there is nothing to roll back to."
    for name in api worker beat; do
        revision=$(newest_of "$name" "$target")
        if [ -z "$revision" ]; then missing+=("$name"); fi
        to[$name]=$revision
        printf '  %-6s  %s -> %s\n' "$name" "${current[$name]:-nothing}" "$target${revision:+ (revision $revision)}"
    done
    printf 'Releases that are there, the newest first: %s\n' \
        "$(awk '$1 == "api" && !seen[$3]++ { printf "%s ", $3 }' <<<"$known")"
    [ ${#missing[@]} = 0 ] ||
        give_up "There is no revision of $target for: ${missing[*]}. They would be of two releases, so nothing was rolled back.
Deploy the release by its tag instead: make k8s-deploy OVERLAY=$overlay TAG=<tag>, or name another one by RELEASE=."
    for name in api worker beat; do
        if [ "${current[$name]}" != "$target" ]; then
            act --namespace "$NAMESPACE" rollout undo "deployment/$name" --to-revision "${to[$name]}"
        fi
    done
    for name in api worker beat; do ready "deployment/$name"; done
    closing "Rolled back to $target. The database stays at its revision: the release before runs on it.
Once more would go to $now, which was the release before this one; RELEASE=... names another."
}

closing() {
    if [ "${CONFIRM:-}" = yes ]; then echo "$1"; else echo "Nothing was done. CONFIRM=yes does it."; fi
}

# Values of secrets stay out of terminals and of logs.
show() {
    if [ "${SHOW_SECRETS:-}" = yes ] || [[ $(chosen secrets.env) = *.example ]]; then
        cat "$manifests"
    else
        awk 'BEGIN { RS = "\n---\n" }
            { printf "%s%s", between, /(^|\n)kind: Secret\n/ ? masked($0) : $0; between = RS }
            function masked(text,    line, n, i, data, out) {
                n = split(text, line, "\n")
                for (i = 1; i <= n; i++) {
                    if (line[i] ~ /^[^ ]/) data = line[i] == "data:"
                    else if (data && line[i] ~ /^  [^ ]/) sub(/:.*/, ": \"***\"", line[i])
                    else if (data) continue
                    out = out line[i] "\n"
                }
                return out
            }' "$manifests"
    fi
}

case $action in
    render)
        render
        show
        ;;
    diff)
        need_cluster
        render
        # 1 says that there are differences, which is no failure.
        kubectl diff --filename "$manifests" || [ $? = 1 ]
        ;;
    deploy)
        render
        deploy
        ;;
    rollback) rollback ;;
    *) give_up "$usage" ;;
esac
