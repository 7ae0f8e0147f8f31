// The JSON of the /aws routes; docs/openapi.yaml is the reference.

declare namespace Aws {
  type Target = 'aws' | 'local' | ''

  interface Problem {
    code: string
    message: string
    hint: string
    node_errors?: Record<string, NodeError>
  }

  interface NodeError {
    class_type?: string
    errors?: { message?: string; details?: string }[]
  }

  interface Status {
    configured: boolean
    target: Target
    region: string
    bucket: string
    role: 'designer' | 'inference'
    endpoint: string
    route: string
    stack: { running: boolean; endpoint_url: string }
    version: string
    problem: Problem | null
  }

  interface Template {
    name: string
    version: number
    created: number
    updated: number
    author: string
    description: string
    endpoint: string
    size: number
    cover: { digest: string; size: number } | null
    /** What its form shows; none for what the rules find. */
    parameters: ChosenInput[]
  }

  interface Settings {
    target: Target
    region: string
    profile: string
    bucket: string
    execution_role: string
    image: string
    endpoint: string
    cost_limit_job: string
    cost_limit_month: string
    cost_limit_user: string
    idle_guard: string
  }

  interface SettingsInForce {
    settings: Settings
    /** The environment variable of each setting that one decides. */
    forced: Partial<Record<keyof Settings, string>>
    file: string
  }

  interface Check {
    name: string
    state: 'passed' | 'failed' | 'skipped'
    message: string
    hint: string
    permission: string
  }

  /** A widget of a workflow that a form can show. */
  interface FormParameter {
    name: string
    node: string
    input: string
    title: string
    label: string
    /** What the rules take it for; empty when they do not find it. */
    role: string
    media: string
    /** Titles of the subgraphs that its node stands in, the outermost first. */
    place: string[]
  }

  /** A widget of a template that people change. */
  interface Parameter extends FormParameter {
    kind: 'text' | 'int' | 'float' | 'boolean' | 'choice' | 'file'
    value: unknown
    minimum: number | null
    maximum: number | null
    step: number | null
    choices: unknown[]
    multiline: boolean
    tooltip: string
  }

  /** A parameter that a form shows; `label` is what it is called there, empty for the usual. */
  interface ChosenInput {
    node: string
    input: string
    label: string
  }

  interface TemplateContent {
    template: Template
    version: number
    workflow: object
    prompt: object
    manifest: object
  }

  interface Publish {
    id: string
    name: string
    state: 'running' | 'done' | 'failed' | 'cancelled'
    phase: string
    item: string
    done: number
    total: number
    rate: number | null
    seconds_left: number | null
    version: number | null
    error: Problem | null
    client_id: string
    /** What the form shows no more. */
    dropped: ChosenInput[]
  }

  interface PublishRequest {
    name: string
    workflow: object
    prompt: object
    new_version: boolean
    client_id: string
    description?: string
    /** base64 of a picture */
    cover?: string
    parameters?: ChosenInput[]
  }

  interface VersionFacts {
    version: number
    created: number
    author: string
    current: boolean
    nodes: number
    size: number
    fault: { message: string; hint: string; at: number } | null
  }

  interface Change {
    kind: string
    name: string
    before: unknown
    after: unknown
  }

  /** Something that a prompt needs; POST /aws/preflight. */
  interface Need {
    name: string
    size: number
    in_bucket: boolean
  }

  interface Finding {
    node_id: string
    class_type: string
    input: string
    reason: string
  }

  interface Preflight {
    models: (Need & { folder: string })[]
    inputs: Need[]
    packs: Need[]
    unresolved: Finding[]
    warnings: Finding[]
    bytes_to_upload: number
    expected_seconds: number | null
    /** Where a job would run; null when no endpoint takes jobs. */
    endpoint: { name: string; instances: number; bytes_to_fetch: number } | null
    /** What a form can show. */
    parameters: FormParameter[]
  }

  /** The canvas and what is kept of it. */
  interface Draft {
    /** Environment that it belongs to: a template's name, empty for Local. */
    owner: string
    /** It differs from what is published. */
    edited: boolean
    /** It is kept as it is. */
    kept: boolean
    /** The published version that it began as; 0 when it began as none. */
    version: number
    /** There are earlier drafts. */
    earlier: boolean
    /** It is what a job was sent with, and nobody has changed it. */
    lent: boolean
  }

  type EndpointStatus =
    | 'OutOfService'
    | 'Creating'
    | 'Updating'
    | 'SystemUpdating'
    | 'RollingBack'
    | 'InService'
    | 'Deleting'
    | 'Failed'
    | 'UpdateRollbackFailed'
    | 'Deleted'

  interface Endpoint {
    name: string
    status: EndpointStatus
    created: number
    updated: number
    /** That most of its instances have. */
    instance_type: string
    /** All that they may have, the one that is wanted first. */
    instance_types: string[]
    instances: number
    desired_instances: number
    min_instances: number
    max_instances: number
    template: string
    failure: string
    /** Since when it has been awake without a job; 0 when it sleeps, has jobs, or nobody knows. */
    idle_since: number
    idle_seconds: number
    /** Jobs that wait or run; null when that is not known. */
    backlog: number | null
  }

  interface EndpointLimits {
    min_instances?: number
    max_instances?: number
    idle_seconds?: number
  }

  interface EndpointRequest extends EndpointLimits {
    name?: string
    template?: string
    instance_type?: string
    /** Types that stand in, in this order. */
    fallbacks?: string[]
  }

  interface InstanceType {
    name: string
    gpu: string
    gpus: number
    gpu_memory: number
    vcpus: number
    memory: number
    /** USD an hour; null when it is not known. */
    price: number | null
    region: string
    source: 'aws' | 'list'
    as_of: string
  }

  interface StartPhase {
    name: string
    /** 0 for one that is to come. */
    began: number
    /** 0 for one that lasts or is to come. */
    ended: number
    message: string
    done: number
    total: number
    expected: number | null
  }

  /** How the start of an endpoint's next instance goes on. */
  interface Start {
    now: number
    began: number
    phases: StartPhase[]
    expected: number | null
  }

  type JobState = 'preparing' | 'submitted' | 'running' | 'succeeded' | 'failed' | 'cancelled'

  interface JobError {
    kind: 'gpu_memory' | 'memory' | 'node' | 'job'
    node_id: string
    node_title: string
    hint: string
    larger: string
    larger_memory: number
  }

  /** An output file in this ComfyUI's folders. */
  interface SavedFile {
    node_id: string
    filename: string
    subfolder: string
    type: string
  }

  interface JobFacts {
    instance_type: string
    started: number
    seconds: number
    timings: Record<string, number>
    files: SavedFile[]
    error: JobError | null
    /** Machines it was given to. */
    tries: number
  }

  /** What a job was sent with. */
  interface JobRequest {
    prompt: Record<string, any>
    outputs: string[]
    workflow: Record<string, any> | null
    extra_data: Record<string, any>
  }

  interface Job {
    id: string
    endpoint: string
    state: JobState
    created: number
    updated: number
    template: string
    client_id: string
    message: string
    phase: { phase: string; message: string; done: number; total: number } | null
    progress: { node: string; title: string; value: number; max: number } | null
    nodes_done: number
    nodes_total: number
    facts: JobFacts
    /** When its present phase began; 0 at its end. */
    since: number
    previews: number
    /** USD an hour of its instance. */
    price: number | null
    /** USD; null before its end, and when it is not known. */
    cost: number | null
  }

  interface ModelName {
    folder: string
    name: string
  }

  interface Model extends ModelName {
    size: number
    here: boolean
    bucket: boolean
    differs: boolean
    digest: string
  }

  interface ModelFolder {
    name: string
    suffixes: string[]
  }

  interface Models {
    models: Model[]
    folders: ModelFolder[]
    problem: Problem | null
  }

  interface ModelUser {
    template: string
    version: number
  }

  interface FetchRequest {
    url: string
    folder: string
    name: string
    sha256: string
  }

  type TransferState = 'waiting' | 'running' | 'done' | 'failed' | 'cancelled'

  /** A model on its way; `upload` is this page's own. */
  interface Transfer extends ModelName {
    id: string
    kind: 'url' | 'push' | 'pull' | 'upload'
    state: TransferState
    phase: string
    done: number
    total: number
    error: Problem | null
    source: string
    created: number
  }

  type LogLevel = 'debug' | 'info' | 'warning' | 'error'

  interface LogLine {
    at: number
    level: LogLevel
    job: string
    source: string
    text: string
  }

  interface LogPage {
    lines: LogLine[]
    after: string
    fresh: boolean
  }

  /** A list of the page and how it came to be. */
  interface Listing<T> {
    items: T[]
    state: 'idle' | 'loading' | 'ready' | 'error'
    problem: Problem | null
  }

  /** Everything that the views draw. */
  interface State {
    status: Status | null
    statusProblem: Problem | null
    /** The server is being asked for everything. */
    refreshing: boolean
    /** The bucket whose templates, endpoints and jobs the lists show; empty before the first. */
    listed: string
    stackBusy: 'start' | 'stop' | ''
    stackProblem: Problem | null
    templates: Listing<Template>
    endpoints: Listing<Endpoint>
    jobs: Listing<Job>
    /** The server has older jobs than those of the list. */
    olderJobs: boolean
    /** What SageMaker has to offer, by the server's list. */
    instanceTypes: InstanceType[]
    /**
     * Endpoints an instance of which starts, by name; `skew` is how far the server's clock is
     * ahead of this one, in seconds.
     */
    starts: Record<string, Start & { skew: number }>
    /** An endpoint that somebody was advised to create. */
    wish: { template: string; instance_type: string } | null
    /** The log that somebody wants to see. */
    log: { source: string; job: string } | null
    /** Name of the template whose workflow is being fetched. */
    opening: string
    /** An endpoint is being asked for. */
    creating: boolean
    /** Prompt on AWS is ticked in this tab. */
    on: boolean
    /** Name of the template that this tab's runs name. */
    template: string
    /** The publish that locks this tab. */
    publish: Publish | null
    draft: Draft | null
    /** Why the canvas could not be kept. */
    draftProblem: Problem | null
  }
}
