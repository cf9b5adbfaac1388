import { Outlet, Scripts } from '@remix-run/react'
export default function Root() {
  return <html lang="en"><body><Outlet /><Scripts /></body></html>
}
