// What sizes a VM can have.
export const vcpusMax = 64
export const memoryLeast = 64 * 2 ** 20

export function vcpuProblem(count: number): boolean {
  return !Number.isInteger(count) || count < 1 || count > vcpusMax
}
