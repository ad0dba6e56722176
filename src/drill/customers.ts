export interface Customer {
  readonly id: string
  readonly name: string
  readonly email: string
  readonly city: string
  readonly phone: string
  readonly iban: string
  readonly plan: 'free' | 'team' | 'enterprise'
}

const first = ['Ada', 'Bao', 'Chidi', 'Dana', 'Emre', 'Freya', 'Goran', 'Hana', 'Ines', 'Jonas', 'Kofi', 'Lena']
const last = ['Abel', 'Brandt', 'Costa', 'Diallo', 'Eriksen', 'Fischer', 'Garcia', 'Hansen', 'Ito', 'Jensen', 'Kovac']
export const cities = ['Berlin', 'Lisbon', 'Oslo', 'Porto', 'Vienna', 'Zagreb'] as const
const plans = ['free', 'team', 'enterprise'] as const

/** People that do not exist: names from two lists, addresses under example.org, account numbers of no bank. */
export const customers: readonly Customer[] = first.flatMap((given, row) =>
  last.map((family, column) => {
    const number = row * last.length + column + 1
    return {
      id: `C-${String(number).padStart(4, '0')}`,
      name: `${given} ${family}`,
      email: `${given}.${family}@example.org`.toLowerCase(),
      city: cities[number % cities.length] ?? 'Berlin',
      phone: `+00 555 01${String(number).padStart(4, '0')}`,
      iban: `XX00EXAM${String(number * 7919).padStart(14, '0')}`,
      plan: plans[number % plans.length] ?? 'free',
    }
  }),
)
