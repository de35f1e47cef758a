// What a text in PEM form lacks, before it is sent away. Only the host can tell whether it is good.
const kinds = { certificate: /^(?:X509 |TRUSTED )?CERTIFICATE$/, key: /^(?:RSA |EC )?PRIVATE KEY$/ }

export type PemProblem = "empty" | "noCertificate" | "noKey" | "encrypted"

export function pemProblem(text: string, kind: keyof typeof kinds): PemProblem | undefined {
  if (!text.trim()) return "empty"
  const labels = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g)].map(([, label]) => label!)
  if (kind === "key" && (labels.includes("ENCRYPTED PRIVATE KEY") || /^Proc-Type:.*ENCRYPTED/m.test(text)))
    return "encrypted"
  if (labels.some((label) => kinds[kind].test(label))) return undefined
  return kind === "key" ? "noKey" : "noCertificate"
}
